// Command gubernator holds Headgate against Gubernator itself. Its tests have
// Gubernator's Go client ask a real headgate, and put the same requests to a real
// Gubernator (`make gubernator`); the command compares what both decide in a second
// when they are asked in batches (`make bench-gubernator`).
//
// It is a module of its own, because Gubernator's dependencies must not enter the
// product's module graph, and outside CI, because they take minutes to build.
//
// Errors: a case that fails fails the test. What is answered differently on purpose
// is listed, case by case, with what each of the two answers.
//
// See docs/guides/from-gubernator.md.
package main
