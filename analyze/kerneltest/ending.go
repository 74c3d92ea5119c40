package kerneltest

import (
	"errors"

	"kdx/analyze/walk"
)

// Ending is how a walk ended, as tables of tests say it behind what was found: "", "loop;" or "error;".
func Ending(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, walk.ErrLoop):
		return "loop;"
	}
	return "error;"
}
