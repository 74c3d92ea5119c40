package commands

// All is the table of commands, in the order of help. A new command is one line here.
func All() []*Command {
	return []*Command{
		helpCommand(),
		aliasCommand(),
		setCommand(),
		historyCommand(),
		repeatLineCommand(),
		exitCommand(),
		btCommand(),
		foreachCommand(),
		logCommand(),
		modCommand(),
		psCommand(),
		sysCommand(),
		taskCommand(),
		structCommand(),
		unionCommand(),
		starCommand(),
		pCommand(),
		whatisCommand(),
		rdCommand(),
		disCommand(),
		symCommand(),
		sourceCommand(),
		kmemCommand(),
		vtopCommand(),
		ptovCommand(),
		ptobCommand(),
		btopCommand(),
		pteCommand(),
		listCommand(),
		treeCommand(),
		evalCommand(),
		asciiCommand(),
	}
}
