// Package lbconfig renders the load balancer's configuration from a model.
package lbconfig
