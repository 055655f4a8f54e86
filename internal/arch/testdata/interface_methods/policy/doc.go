// Package policy is a fixture.
package policy

type five interface{ A(); B(); C(); D(); E() }

type six interface{ A(); B(); C(); D(); E(); F() } // want interface-methods "interface of 6 methods"
