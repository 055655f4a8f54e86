// Package policy is a fixture.
package policy

type matcherImpl struct{} // want type-name "type matcherImpl"

type (
	UserInfo struct{} // want type-name "type UserInfo"
	Matcher  struct{}
)
