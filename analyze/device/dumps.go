package device

import (
	"io"

	"kdx/analyze/kernel"
)

// Dump is what a driver left in the capture kernel (NT_VMCOREDD).
type Dump struct {
	Name   string
	Offset int64 // of its data in the file, -1 if it does not lie in one piece
	Size   int64 // bytes
	Data   io.ReaderAt
}

// Dumps are the device dumps of the dump file.
func Dumps(v *kernel.View) []Dump {
	var out []Dump
	for _, d := range v.Image().Info().Devices {
		_, off, _ := d.Data.Outer()
		out = append(out, Dump{d.Name, off, d.Size, d.Data})
	}
	return out
}
