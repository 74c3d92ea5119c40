// Package describe says what a dump is: for people (Text) and for scripts (the JSON form of Description).
//
// What headers and notes don't say is looked for in the dump's memory, as far as that is quick: the kernel's banner, its
// uname, its embedded configuration.
package describe

import (
	"context"
	"encoding/binary"
	"time"

	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
)

// Description is all that kdx tells of a dump without symbols. Its JSON form is a contract: names are kept, unknown values
// are null or left out as each field says.
type Description struct {
	Format        string   `json:"format"` // "elf", "kdump", "vmware", …: see docs/formats.md
	HeaderVersion *int     `json:"header_version"`
	Files         []string `json:"files"`
	Flattened     bool     `json:"flattened"`
	Incomplete    bool     `json:"incomplete"`
	Truncated     bool     `json:"truncated"`
	Filtered      bool     `json:"filtered"`
	Distilled     *string  `json:"distilled"` // what kdx distill recorded; null for other dumps
	Split         *Split   `json:"split"`
	WrittenByQEMU bool     `json:"written_by_qemu"` // it has QEMU's own CPU notes

	Machine   string `json:"machine"`    // as uname -m; "" if unknown
	ByteOrder string `json:"byte_order"` // "little" or "big"
	WordBits  int    `json:"word_bits"`
	PageSize  uint64 `json:"page_size"` // bytes

	Release  string `json:"release"` // "" if unknown
	Nodename string `json:"nodename"`
	Version  string `json:"version"` // uname -v
	Banner   string `json:"banner"`
	BuildID  string `json:"build_id"`
	// ReleaseFrom says where the release was found: "vmcoreinfo", "header", "uname in memory", "banner in memory" or "".
	ReleaseFrom    string `json:"release_from"`
	EmbeddedConfig bool   `json:"embedded_config"` // seen while looking for the release (CONFIG_IKCONFIG)

	CrashTime *time.Time `json:"crash_time"` // from VMCOREINFO
	DumpTime  *time.Time `json:"dump_time"`  // when the file was written

	DumpLevel    *int           `json:"dump_level"`
	Compressions []string       `json:"compressions"` // named by the header
	MaxPFN       uint64         `json:"max_pfn"`      // one more than the last
	Memory       uint64         `json:"memory"`       // bytes of RAM that the dump describes
	Ranges       []Range        `json:"ranges"`
	Pages        dumpfmt.Counts `json:"pages"`

	CPUs []CPU `json:"cpus"`

	VMCoreInfo map[string]string `json:"vmcoreinfo"` // null if the dump has none
	// VMCoreInfoFrom says how it was found if the dump carries none: "found in memory at …", "derived from …".
	VMCoreInfoFrom string   `json:"vmcoreinfo_from,omitempty"`
	EraseInfo      string   `json:"erase_info,omitempty"`
	Devices        []Device `json:"device_dumps,omitempty"`
	Warnings       []string `json:"warnings"`

	vmcoreinfo string
}

// Range is a range of physical memory [Start, End).
type Range struct {
	Start Hex `json:"start"`
	End   Hex `json:"end"`
}

// Split is a split set of files, or the part of one.
type Split struct {
	Parts    int     `json:"parts"`
	StartPFN uint64  `json:"start_pfn"`
	EndPFN   uint64  `json:"end_pfn"`
	Missing  []Range `json:"missing"`
}

// CPU is what the notes say of a CPU.
type CPU struct {
	Index     int        `json:"index"`
	PID       int32      `json:"pid"`
	Registers []Register `json:"registers"`
	Control   []Register `json:"control_registers,omitempty"` // QEMU
}

// Register has a name and a value.
type Register struct {
	Name  string `json:"name"`
	Value Hex    `json:"value"`
}

// Device is a driver's own dump.
type Device struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
}

// Describe reads headers, tables and, where a release or banner is not known otherwise, some memory.
// The error is the context's or a read error; a dump that says little is described as far as it goes.
func Describe(ctx context.Context, im *dumpfmt.Image) (*Description, error) {
	info := im.Info()
	d := fromInfo(info)
	var err error
	if d.Pages, err = im.Count(ctx); err != nil {
		return nil, err
	}
	found, err := search(ctx, im, d.Release == "")
	if err != nil {
		return nil, err
	}
	d.merge(found)
	return d, nil
}

func fromInfo(info *dumpfmt.Info) *Description {
	d := &Description{
		Format: info.Format, Files: info.Files, Flattened: info.Flattened, Incomplete: info.Incomplete,
		Truncated: info.Truncated, Filtered: info.Filtered, Distilled: info.Distilled,
		Machine: string(info.Machine), ByteOrder: "little", WordBits: info.WordSize * 8, PageSize: info.PageSize,
		Nodename: info.UTS.Nodename, Version: info.UTS.Version,
		Compressions: append([]string{}, info.Codecs...), MaxPFN: info.MaxPFN, EraseInfo: info.EraseInfo,
		CPUs: []CPU{}, Warnings: append([]string{}, info.Warnings...),
	}
	if info.ByteOrder == binary.BigEndian {
		d.ByteOrder = "big"
	}
	if info.HeaderVersion != 0 || info.Format == "kdump" || info.Format == "diskdump" { // whose first version is 0
		d.HeaderVersion = &info.HeaderVersion
	}
	if info.DumpLevel >= 0 {
		d.DumpLevel = &info.DumpLevel
	}
	if !info.Timestamp.IsZero() {
		d.DumpTime = &info.Timestamp
	}
	d.kernel(info)
	d.memory(info)
	for i := range info.CPUs {
		d.CPUs = append(d.CPUs, cpu(&info.CPUs[i]))
		d.WrittenByQEMU = d.WrittenByQEMU || info.CPUs[i].QEMU != nil && (info.Format == "elf" || info.Format == "kdump")
	}
	for _, dev := range info.Devices {
		d.Devices = append(d.Devices, Device{dev.Name, dev.Size})
	}
	return d
}

// kernel fills what VMCOREINFO says. It comes from the kernel itself, so it goes before the header, which QEMU leaves
// nearly empty.
func (d *Description) kernel(info *dumpfmt.Info) {
	if info.UTS.Release != "" {
		d.Release, d.ReleaseFrom = info.UTS.Release, "header"
	}
	if info.VMCoreInfo != nil {
		d.Found(info.VMCoreInfo)
	}
}

// Found fills in what a VMCOREINFO says: the dump's own, or one that was found otherwise, see vmcoreinfo.Info.Origin.
func (d *Description) Found(vmci *vmcoreinfo.Info) {
	d.vmcoreinfo, d.VMCoreInfoFrom = vmci.Text(), vmci.Origin()
	d.VMCoreInfo = make(map[string]string)
	for _, key := range vmci.Keys() {
		d.VMCoreInfo[key], _ = vmci.Get(key)
	}
	if r, ok := vmci.Get("OSRELEASE"); ok && r != "" {
		d.Release, d.ReleaseFrom = r, "vmcoreinfo"
	}
	d.BuildID, _ = vmci.Get("BUILD-ID")
	if sec, ok := vmci.Decimal("CRASHTIME"); ok && sec > 0 {
		t := time.Unix(sec, 0).UTC()
		d.CrashTime = &t
	}
}

func (d *Description) memory(info *dumpfmt.Info) {
	d.Ranges = ranges(info.Ranges)
	for _, r := range info.Ranges {
		d.Memory += uint64(r.End - r.Start)
	}
	if s := info.Split; s != nil {
		d.Split = &Split{Parts: s.Parts, StartPFN: s.StartPFN, EndPFN: s.EndPFN, Missing: ranges(s.Missing)}
	}
}

func ranges(in []dumpfmt.PhysRange) []Range {
	out := make([]Range, len(in))
	for i, r := range in {
		out[i] = Range{Hex(r.Start), Hex(r.End)}
	}
	return out
}

func cpu(c *dumpfmt.CPU) CPU {
	out := CPU{Index: c.Index, PID: c.PID, Registers: registers(c.Regs)}
	if q := c.QEMU; q != nil {
		if len(out.Registers) == 0 {
			out.Registers = registers(q.Regs)
		}
		out.Control = []Register{{"cr0", Hex(q.CR0)}, {"cr2", Hex(q.CR2)}, {"cr3", Hex(q.CR3)}, {"cr4", Hex(q.CR4)},
			{"idt", Hex(q.IDTBase)}, {"gdt", Hex(q.GDTBase)}, {"gs_base", Hex(q.GSBase)}}
		if q.HasKernelGSBase {
			out.Control = append(out.Control, Register{"kernel_gs_base", Hex(q.KernelGSBase)})
		}
	}
	return out
}

func registers(in []dumpfmt.Register) []Register {
	out := []Register{}
	for _, r := range in {
		out = append(out, Register{r.Name, Hex(r.Value)})
	}
	return out
}
