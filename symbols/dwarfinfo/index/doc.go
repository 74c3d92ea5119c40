// Package index knows where the DWARF of a file defines what: types, functions, variables and enumerators by name. A scanner
// made for it reads .debug_info on all cores, with each unit's abbreviations compiled to few steps; nothing of an entry is kept
// but its name's hash and its offset. The result is one block of bytes that is looked up in place, in memory or mapped from a
// file in the user's cache directory.
//
// Declarations are no definitions. A header's type is in each unit that includes it: equal definitions are one Hit. What has
// its name at a declaration (DW_AT_specification) or at an abstract instance (DW_AT_abstract_origin) is found by that name.
package index
