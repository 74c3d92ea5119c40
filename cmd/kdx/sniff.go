package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
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

// sortFiles tells dumps from a vmlinux, whatever their order.
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
	fi, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if fi.IsDir() {
		return 0, &os.PathError{Op: "open", Path: path, Err: syscall.EISDIR}
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	head := make([]byte, 0x206)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, err
	}
	return kindOf(path, head[:n])
}

func kindOf(path string, head []byte) (fileKind, error) {
	if len(head) >= 0x206 && string(head[0x202:0x206]) == "HdrS" {
		return 0, fmt.Errorf("%s is a compressed kernel (vmlinuz); kdx takes a vmlinux, and does without", path)
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
