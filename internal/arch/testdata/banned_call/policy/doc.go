// Package policy is a fixture.
package policy

import (
	"fmt"
	"os"
	clock "time"
)

func bad() {
	_ = clock.Now()          // want banned-call "clock.Now is for the shell packages"
	clock.Sleep(1)           // want banned-call "clock.Sleep"
	fmt.Println("x")         // want banned-call "fmt.Println"
	fmt.Print("x")           // want banned-call "fmt.Print"
	_ = os.Getenv("HOME")    // want banned-call "os.Getenv"
	os.Exit(1)               // want banned-call "os.Exit"
	now := clock.Now         // want banned-call "clock.Now"
	_ = now
	_ = fmt.Sprint("fine")
	_ = clock.Second
}
