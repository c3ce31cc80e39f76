// Package sample measures: the CPU and memory of given containers, those of
// the host, and the connections to a published address. It reads the kernel's
// control groups (v1 and v2) directly, because the engine's own figures take
// one to two seconds a container or cost some milliseconds of CPU each second;
// they are the fallback where the files cannot be read. It is the only package
// that imports gopsutil.
//
// It has no loop and no history, and never decides anything. A call measures
// once.
package sample
