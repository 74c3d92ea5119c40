package commands

// All is the table of commands, in the order of help. A new command is one line here.
func All() []*Command {
	return []*Command{
		structCommand(),
		unionCommand(),
		starCommand(),
		pCommand(),
		whatisCommand(),
	}
}
