// Package vars knows the parameters and local variables of functions and where they are in a frame: in memory, in registers, in
// pieces, computed, or as the caller passed them.
package vars
