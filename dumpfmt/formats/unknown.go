package formats

import (
	"bytes"
	"fmt"

	"kdx/dumpfmt/vmware"
	"kdx/dumpfmt/xencore"
)

// other files that people give by mistake, or dumps that kdx does not read. The hint ends an error's sentence.
var others = []struct{ magic, hint string }{
	{"\x7fELF", "it is an ELF file but no core dump; is it a vmlinux? Name the dump first"},
	{"\x1f\x8b", "it is gzip-compressed; unpack it first (gunzip)"},
	{"\xfd7zXZ", "it is xz-compressed; unpack it first (unxz)"},
	{"\x28\xb5\x2f\xfd", "it is zstd-compressed; unpack it first (unzstd)"},
	{"BZh", "it is bzip2-compressed; unpack it first (bunzip2)"},
	{"PK\x03\x04", "it is a zip archive; unpack it first"},
	{"PAGEDU64", "it is a Windows dump"},
	{"MDMP", "it is a Windows dump"},
}

func notDump(name string, head []byte) error {
	if len(head) == 0 {
		return fmt.Errorf("%s: %w: the file is empty", name, ErrNotDump)
	}
	if vmware.IsMemory(name) {
		return fmt.Errorf("%s: %w: it looks like the memory of a virtual machine; open the .vmss or .vmsn that belongs to it, or if there is none, %s@0", name, ErrNotDump, name)
	}
	if len(bytes.Trim(head, "\x00")) == 0 {
		return fmt.Errorf("%s: %w: it begins with %d zero bytes; was the dump cut short before its header was written?", name, ErrNotDump, len(head))
	}
	const elfHeader = 52 // of a 32-bit file; a 64-bit one's is longer
	if bytes.HasPrefix(head, []byte("\x7fELF")) && len(head) < elfHeader {
		return fmt.Errorf("%s: %w: it is an ELF file of %d bytes, which ends inside its header; was it cut short?", name, ErrNotDump, len(head))
	}
	for _, o := range others {
		if bytes.HasPrefix(head, []byte(o.magic)) {
			return fmt.Errorf("%s: %w: %s", name, ErrNotDump, o.hint)
		}
	}
	if what, ok := xencore.IsStream(head); ok {
		return fmt.Errorf("%s: %w: it is %s; make a dump with xl dump-core instead", name, ErrNotDump, what)
	}
	return fmt.Errorf("%s: %w: it begins with % x (if it is memory as it was, say where: %s@ADDRESS)", name, ErrNotDump, head[:min(len(head), 16)], name)
}
