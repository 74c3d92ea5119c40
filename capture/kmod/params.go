package kmod

import "strings"

// CmdlineParams are the parameters for a module on a kernel's command line: NAME.PARAM or NAME.PARAM=VALUE. The kernel itself gives them
// to modules that are built in only; for all others it is the loader's work.
func CmdlineParams(cmdline, module string) string {
	module = Canonical(module)
	var out []string
	for _, w := range words(cmdline) {
		if w == "--" {
			break
		}
		name, param, ok := strings.Cut(w, ".")
		if ok && !strings.Contains(name, "=") && Canonical(name) == module && param != "" {
			out = append(out, param)
		}
	}
	return strings.Join(out, " ")
}

// words splits a command line at blanks that are not between double quotes, as the kernel does.
func words(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n')
	})
}
