// Package cdecl reads C type names and declarations: "struct list_head *[4]", "int (*)(void *)", "unsigned long jiffies".
//
// Names of structs, unions, enums and typedefs are looked up in the kernel's types. What a kernel lacks is not found;
// base types are made if need be.
package cdecl
