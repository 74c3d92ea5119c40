// Command kdx-init is the first process of the capture kernel: see package initd.
package main

import (
	"os"

	"kdx/capture/initd"
)

func main() {
	os.Exit(initd.Main(os.Args[1:]))
}
