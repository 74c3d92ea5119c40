// Package repl turns typed lines into answers: it takes a line apart, finds the command, runs it and writes its result
// as text or JSON to the terminal, a pager, a file or a shell pipeline. What the commands are is in package commands;
// how a kernel is read is in package analyze.
package repl
