// Package btf finds types in the BTF that a kernel and its modules carry in their own memory.
//
// cilium/ebpf/btf decodes the types. It follows every reference of a type at once, so that one task_struct would bring in
// half of the kernel, recursing as deep as the data says. Therefore the copy that the library gets has the targets of
// pointers cut off; they are kept here, and types behind pointers are decoded when asked for. What then remains of a
// type is what it holds by value, and its depth is checked before the library sees it.
package btf
