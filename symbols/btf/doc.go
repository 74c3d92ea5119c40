// Package btf finds types in the BTF that a kernel and its modules carry in their own memory.
//
// The data, 5 MB of a distribution's kernel, is gone through once and not kept: what stays is where each eighth record lies, and an
// index of names, some 0.3 MB. A type is decoded from target memory when it is asked for, and what it leads to when that is.
package btf
