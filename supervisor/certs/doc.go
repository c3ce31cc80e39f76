// Package certs gets certificates from a CA with certmagic, checks them, and
// writes the files that nginx reads.
//
// It decides neither which certificate is ordered nor when: each call is one
// attempt, and its error says what failed. What must outlive the process is in
// a Store, which all hosts share: accounts, locks, the answers to a CA's
// questions, and the certificates. It never seals anything, and never puts a
// private key into an error or a log.
package certs
