package sysinfo

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// DMIField is a string of the firmware's description of the machine.
type DMIField struct {
	Name  string // of enum dmi_field: "DMI_BIOS_VENDOR"
	Value string
}

// DMI reads dmi_ident, an array of strings indexed by enum dmi_field. Fields that the firmware left out are not listed.
func DMI(v *kernel.View) ([]DMIField, error) {
	sym, err := v.Symbol("dmi_ident")
	if err != nil {
		return nil, fmt.Errorf("DMI: %w", err)
	}
	_, fields, err := v.Symbols().Enumerator("DMI_BIOS_VENDOR")
	if err != nil {
		return nil, fmt.Errorf("DMI: %w", err)
	}
	var out []DMIField
	for _, f := range fields.Strip().Enumerators() {
		if f.Name == "DMI_STRING_MAX" || f.Name == "DMI_OEM_STRING" || f.Value < 0 || f.Value > 64 {
			continue // the last two are no strings of their own
		}
		p, err := v.Word(vmem.Addr(sym.Addr + uint64(f.Value)*v.WordSize()))
		if err != nil {
			v.Gap(f.Name, err)
			continue
		}
		if p == 0 {
			continue
		}
		text, err := v.CString(vmem.Addr(p), 256)
		if err != nil {
			v.Gap(f.Name, err)
			continue
		}
		out = append(out, DMIField{f.Name, text})
	}
	return out, nil
}
