// Package accesslog reads lines of nginx's access log in the form that
// lbconfig.Base writes, and counts what they say of the instances.
//
// It is a function of its input: it opens no file and knows no clock. Lines in
// another form are none of its business and are passed over.
package accesslog
