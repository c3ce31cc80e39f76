// Package nginx puts a lbconfig.Config in force in a real nginx: it writes the
// rendered files beside what is live, has nginx test them, swaps them in by
// renaming one symbolic link, reloads, and waits until the new generation is
// seen to answer.
//
// The files of generation 7 are in ROOT/gen-7, and ROOT/current is a symbolic
// link to gen-7; nginx's main file includes ROOT/current/*.conf. A generation's
// directory never changes once current has pointed to it, so nginx always reads
// a whole configuration, whenever it is started, reloaded or killed, and the
// same goes for this program.
//
// The package never edits nginx's main file, starts or stops nginx, or touches
// anything else under /etc/nginx.
package nginx
