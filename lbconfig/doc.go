// Package lbconfig turns a model of sites into nginx's configuration text.
//
// It is a function: the same Config gives the same bytes. It knows no nginx
// process, reads and writes no file, looks at no clock; lbconfig/nginx puts the
// text in force. The text itself is in templates/.
//
// Whatever comes from a user is data. Validate accepts only names, addresses
// and paths of narrow alphabets, none of which means anything to nginx, and
// every accepted value is quoted on its way into the text besides. nginx has
// no way to escape a "$", so refusing it is the only safe answer.
package lbconfig
