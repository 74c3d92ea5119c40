// Package commands is the table of commands: a file a command (or a family), one line in All. A command turns flags and
// arguments into a question to package analyze and returns a view.Result; it never prints.
package commands

import (
	"kdx/analyze/kernel"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

// Command is a row of the table. Help, documentation and completion are made from it.
type Command struct {
	Name     string
	Aliases  []string // other names: "dmesg" for log
	Group    string   // heading under which help lists it: "tasks", "memory", "symbols and types", "kernel", "session"
	Summary  string   // one line, lower case, no full stop
	Usage    []string // argument forms without the name: "[-a] [pid | task | name]…"
	Flags    []Flag
	Help     string // paragraphs: what it shows, columns, what it can't know
	Examples []Example
	Needs    Needs
	// Complete names what its arguments are, for completion: "symbol", "type", "command", "task", "variable", or "".
	Complete string
	// Raw: the words are passed on as typed, flags among them (foreach hands them to another command).
	Raw bool
	// Inner are the words of the command that it runs in its own's stead; nil if it runs none, or of several which it likes.
	Inner func(words []string) []string
	// Tasks: its arguments are tasks, so that foreach can run it over a selection.
	Tasks bool
	// TaskFlag is the flag by which it takes one task ("c"); foreach runs such a command once a task.
	TaskFlag string
	// Quotes: its arguments are C, so quotes are part of a word ('a', "text") and only keep it together.
	Quotes bool
	// Prompt: it only makes sense in a session, so that there is no kdx COMMAND DUMP.
	Prompt bool
	Run    func(*Call) (view.Result, error)
}

// Flag of a command. Crash's are one dash and one letter, and letters without arguments combine (-xs).
type Flag struct {
	Name string // "a", or a word for a long flag ("json")
	Arg  string // placeholder of its argument; "" if it takes none
	// Maybe is the placeholder of an argument that it takes only behind "=": -S=CPUS.
	Maybe string
	Help  string
	// Needs is what the command needs with this flag, if that is not what it needs without.
	Needs Needs
}

// Example is a real command line and what it is for.
type Example struct{ Line, Text string }

// Call is one invocation.
type Call struct {
	View  *kernel.View
	State *State
	Cmd   *Command
	Flags Flags
	Args  []string

	lines *places
}

// State is what a session remembers between commands.
type State struct {
	Kernel  *kernel.Kernel
	Current vmem.Addr // task_struct of the context that bt, files, … take by default
	Hex     bool      // radix 16
	Command func(name string) *Command
	All     func() []*Command // the table
	Aliases map[string]string
	History func() []string // what was typed at the prompt, oldest first; nil without a prompt
	Scroll  bool            // page what is longer than the screen
	Vi      bool            // edit lines as vi does
	Values  []kernel.Value  // what p has shown: $1, $2, …
	Src     string          // root of the kernel's source tree; "" without
	Sources Sources         // who has the text of files that the tree lacks; nil without

	tasks   tasksOnce
	frame   frameChoice            // what frame chose
	texts   map[string]*sourceText // read lately
	listing listing                // where source goes on
}
