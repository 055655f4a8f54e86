package main

import (
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/headgate/headgate/internal/certs/certstest"
)

// A scriptTB lets certstest end a script.
type scriptTB struct {
	testing.TB // nil: certstest uses nothing else
	ts         *testscript.TestScript
}

func (s scriptTB) Helper()           {}
func (s scriptTB) Fatal(args ...any) { s.ts.Fatalf("%v", args) }

// scriptCerts makes certificates in the script's directory: of a node, of a
// client, both signed by ca.pem, and of a client that somebody else signed.
func scriptCerts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: certs")
	}
	tb, dir := scriptTB{ts: ts}, ts.MkAbs(".")
	ca := certstest.NewAuthority(tb, "ca", time.Now())
	certstest.WriteFile(tb, ts.MkAbs("ca.pem"), ca.PEM)
	ca.Issue(tb, certstest.Leaf{Name: "node"}).Write(tb, dir, "node")
	ca.Issue(tb, certstest.Leaf{Name: "client", Client: true}).Write(tb, dir, "client")
	certstest.NewAuthority(tb, "other", time.Now()).Issue(tb, certstest.Leaf{Name: "stranger", Client: true}).Write(tb, dir, "stranger")
}
