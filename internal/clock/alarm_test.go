package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate/headgate/internal/clock"
)

func TestAnAlarmRingsWhenItIsSetAndNotStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, rang := time.Now(), []time.Duration{}
		set, stop := clock.Alarm(func() { rang = append(rang, time.Since(began)) })
		time.Sleep(2 * time.Hour)
		set(time.Second)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(rang) != 1 || rang[0] != 2*time.Hour+time.Second || stop() {
			t.Errorf("rang at %v", rang)
		}
		set(time.Second)
		if !stop() {
			t.Error("it could not be stopped")
		}
		time.Sleep(time.Minute)
		if len(rang) != 1 {
			t.Errorf("rang at %v", rang)
		}
	})
}
