// Package frames shows the frames of a stack with their data: the functions that a frame is in, inlined ones among them, and the
// values of their parameters and variables.
package frames
