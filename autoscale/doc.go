// Package autoscale decides how many instances a service needs, and why.
package autoscale
