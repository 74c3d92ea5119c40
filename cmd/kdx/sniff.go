package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"kdx/dumpfmt/formats"
	"kdx/internal/unpack"
)

// named are the files of a command line.
type named struct {
	dumps   []string
	vmlinux string
}

type fileKind int

const (
	dumpFile fileKind = iota
	vmlinuxFile
)

var errNoDump = errors.New("no dump is named")

// sortFiles tells dumps from a vmlinux, whatever their order. FILE@ADDRESS is memory as it is.
func sortFiles(paths []string) (named, error) {
	var n named
	for _, p := range paths {
		kind, err := sniff(p)
		switch {
		case err != nil:
			return n, err
		case kind == dumpFile:
			n.dumps = append(n.dumps, p)
		case n.vmlinux != "":
			return n, fmt.Errorf("%s and %s are both a vmlinux; which one?", n.vmlinux, p)
		default:
			n.vmlinux = p
		}
	}
	if len(n.dumps) == 0 {
		if n.vmlinux != "" {
			return n, fmt.Errorf("%w; %s is a vmlinux", errNoDump, n.vmlinux)
		}
		return n, errNoDump
	}
	return n, nil
}

// sniff tells a kernel's ELF file from a dump. Anything else is taken for a dump, as opening it says best what it is.
func sniff(path string) (fileKind, error) {
	fi, err := statFile(path)
	if err != nil {
		return 0, err
	}
	if fi.IsDir() {
		return 0, &os.PathError{Op: "open", Path: path, Err: syscall.EISDIR}
	}
	if _, _, ok := formats.SplitAddress(path); ok {
		return dumpFile, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	head, err := headOf(f)
	if err != nil {
		return 0, err
	}
	if unpack.Detect(head) != unpack.None {
		s, err := unpack.Stream(f, fi.Size(), 0)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		defer s.Close()
		if head, err = headOf(s); err != nil {
			return 0, fmt.Errorf("%s: unpacking it: %w", path, err)
		}
	}
	return kindOf(path, head)
}

func headOf(r io.Reader) ([]byte, error) {
	head := make([]byte, 0x206)
	n, err := io.ReadFull(r, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], err
}

func kindOf(path string, head []byte) (fileKind, error) {
	if len(head) >= 0x206 && string(head[0x202:0x206]) == "HdrS" {
		return vmlinuxFile, nil // a boot image (vmlinuz)
	}
	if len(head) >= 8 && string(head[:2]) == "MZ" && string(head[4:8]) == "zimg" {
		return vmlinuxFile, nil // an EFI zboot image
	}
	if len(head) < 18 || string(head[:4]) != "\x7fELF" {
		return dumpFile, nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[5] == 2 {
		order = binary.BigEndian
	}
	switch order.Uint16(head[16:]) { // e_type
	case 1:
		return 0, fmt.Errorf("%s is an object file (a module?), neither a dump nor a vmlinux", path)
	case 2, 3: // executable, or position-independent (arm64)
		return vmlinuxFile, nil
	}
	return dumpFile, nil
}

// statFile is os.Stat of a file that can be named FILE@ADDRESS.
func statFile(path string) (os.FileInfo, error) {
	file, _, _ := formats.SplitAddress(path)
	return os.Stat(file)
}
