package commands

// Distilled are the commands whose answers a distilled dump holds unless others are asked for: what a person asks first.
// None reads memory of user space.
func Distilled() []string {
	return []string{"sys", "sys -t", "log", "ps", "ps -l", "ps -t", "ps -r", "bt", "bt -a", "bt --overflow", "foreach bt", "mod", "mod -g", "kmem -i", "kmem -s",
		"task", "set"}
}
