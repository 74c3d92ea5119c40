package initrd

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kdx/capture/bzimage"
	"kdx/internal/unpack"
)

// kernelFacts are what a kernel can do with an initrd.
type kernelFacts struct {
	// From says how it is known; "" if it is not.
	From string
	// Unpacks are the formats of initrds that it unpacks.
	Unpacks []unpack.Format
}

// best is the way to pack for that kernel. All distributions' kernels read gzip, which stands for what is not known.
func (k kernelFacts) best() unpack.Format {
	if k.From == "" {
		return unpack.Gzip
	}
	for _, f := range choice {
		if f == unpack.None || slices.Contains(k.Unpacks, f) {
			return f
		}
	}
	return unpack.None
}

var options = map[string]unpack.Format{"CONFIG_RD_ZSTD": unpack.Zstd, "CONFIG_RD_XZ": unpack.XZ, "CONFIG_RD_GZIP": unpack.Gzip}

// said are words of the kernel's own decompressors, which are in it only if they are (lib/decompress_*.c). Those of the boot image's stub
// lie outside of the packed kernel.
var said = map[string]unpack.Format{
	"ZSTD-compressed data is": unpack.Zstd,
	"XZ-compressed data is":   unpack.XZ,
	"Not a gzip file":         unpack.Gzip,
}

func fromConfig(from string, text []byte) kernelFacts {
	k := kernelFacts{From: from}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if f, ok := options[name]; ok && value == "y" {
			k.Unpacks = append(k.Unpacks, f)
		}
	}
	return k
}

// factsOf learns what the kernel of that release can: by its configuration if it lies about, else by the image itself.
func factsOf(ctx context.Context, root, image, release, modules string) (kernelFacts, error) {
	base := filepath.Base(image)
	names := []string{
		filepath.Join(filepath.Dir(image), "config-"+release),
		filepath.Join(root, "boot/config-"+release),
		filepath.Join(modules, "config"),
	}
	if strings.HasSuffix(base, release) {
		names = append(names, filepath.Join(filepath.Dir(image), "config"+strings.TrimPrefix(base, "vmlinuz")))
	}
	for _, n := range names {
		b, err := readSmall(n, 4<<20)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return kernelFacts{}, err
		}
		if bytes.Contains(b, []byte("CONFIG_BLK_DEV_INITRD=y")) {
			return fromConfig(n, b), nil
		}
	}
	if running, err := readLine(filepath.Join(root, "proc/sys/kernel/osrelease")); err == nil && running == release {
		if b, err := readSmall(filepath.Join(root, "proc/config.gz"), 4<<20); err == nil {
			if text, err := gunzip(b); err == nil {
				return fromConfig("/proc/config.gz", text), nil
			}
		}
		if k := factsOfSymbols(filepath.Join(root, symbolsPath)); len(k.Unpacks) > 0 {
			return k, nil
		}
	}
	return factsOfImage(ctx, image)
}

const symbolsPath = "/proc/kallsyms"

// functions are the decompressors by the names of their functions (init/do_mounts_rd.c, lib/decompress.c).
var functions = map[string]unpack.Format{"unzstd": unpack.Zstd, "unxz": unpack.XZ, "gunzip": unpack.Gzip}

// factsOfSymbols looks for decompressors among the functions of the running kernel. That is cheaper than the image, which may need 128 MiB to
// be unpacked (zstd's longest window).
func factsOfSymbols(path string) kernelFacts {
	k := kernelFacts{From: symbolsPath}
	f, err := os.Open(path)
	if err != nil {
		return k
	}
	defer f.Close()
	const mostSymbols = 64 << 20 // bytes
	lines := bufio.NewScanner(io.LimitReader(f, mostSymbols))
	for lines.Scan() {
		b := lines.Bytes() // address, type, name, and of modules the module
		if i := bytes.IndexByte(b, ' '); i >= 0 && len(b) > i+3 {
			if format, ok := functions[string(b[i+3:])]; ok && !slices.Contains(k.Unpacks, format) {
				k.Unpacks = append(k.Unpacks, format)
			}
		}
	}
	return k
}

func gunzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return io.ReadAll(io.LimitReader(z, 16<<20))
}

// factsOfImage reads through the kernel in a boot image for its configuration (CONFIG_IKCONFIG) and for the words of decompressors. An image
// that can't be unpacked leaves them unknown.
func factsOfImage(ctx context.Context, image string) (kernelFacts, error) {
	f, fi, err := unpack.OpenRegular(image)
	if err != nil {
		return kernelFacts{}, err
	}
	defer f.Close()
	src, err := unpack.Stream(f, fi.Size(), 1<<30)
	if err != nil {
		return kernelFacts{}, nil
	}
	defer src.Close()
	k := kernelFacts{From: image}
	const overlap, most = 256 << 10, 1 << 20
	buf := make([]byte, 0, most+overlap)
	for {
		if err := ctx.Err(); err != nil {
			return kernelFacts{}, err
		}
		n, err := io.ReadFull(src, buf[len(buf):min(cap(buf), len(buf)+most)])
		buf = buf[:len(buf)+n]
		if text := ikconfig(buf); text != nil {
			return fromConfig(image, text), nil
		}
		for words, format := range said {
			if !slices.Contains(k.Unpacks, format) && bytes.Contains(buf, []byte(words)) {
				k.Unpacks = append(k.Unpacks, format)
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) || len(k.Unpacks) == 0 {
				return kernelFacts{}, nil
			}
			return k, nil
		}
		if keep := len(buf) - overlap; keep > 0 {
			buf = buf[:copy(buf, buf[keep:])]
		}
	}
}

// ikconfig is the configuration in a piece of the kernel's image (kernel/configs.c): packed with gzip between two marks.
func ikconfig(b []byte) []byte {
	_, rest, ok := bytes.Cut(b, []byte("IKCFG_ST"))
	if !ok {
		return nil
	}
	packed, _, ok := bytes.Cut(rest, []byte("IKCFG_ED"))
	if !ok {
		return nil
	}
	text, err := gunzip(packed)
	if err != nil {
		return nil
	}
	return text
}

// RunningImage finds the boot image of the kernel that runs, below root ("" for this host): the one that was booted, or one in the usual
// places, whose header names the running release.
func RunningImage(root string) (string, error) {
	release, err := readLine(filepath.Join(root, "/proc/sys/kernel/osrelease"))
	if err != nil {
		return "", fmt.Errorf("which kernel runs: %w", err)
	}
	names := []string{"/boot/vmlinuz-" + release, "/usr/lib/modules/" + release + "/vmlinuz", "/lib/modules/" + release + "/vmlinuz", "/boot/Image-" + release, "/boot/vmlinuz-linux", "/boot/vmlinuz", "/vmlinuz", "/boot/bzImage"}
	if b, err := readSmall(filepath.Join(root, "/proc/cmdline"), 64<<10); err == nil {
		for _, w := range strings.Fields(string(b)) {
			if v, ok := strings.CutPrefix(w, "BOOT_IMAGE="); ok {
				if i := strings.LastIndexByte(v, ')'); i >= 0 { // grub's (hd0,gpt2)/vmlinuz
					v = v[i+1:]
				}
				names = append(names, v, filepath.Join("/boot", v))
			}
		}
	}
	var seen []string
	for _, n := range names {
		path := filepath.Join(root, n)
		if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
			continue
		}
		h, err := bzimage.ReadFile(path)
		switch {
		case err != nil:
			seen = append(seen, err.Error())
		case h.Release == release || h.Release == "" && strings.Contains(n, release):
			return path, nil
		default:
			seen = append(seen, fmt.Sprintf("%s is of %s", path, h.Release))
		}
	}
	msg := "the boot image of the running kernel " + release + " was not found in /boot or /usr/lib/modules"
	if len(seen) > 0 {
		msg += " (" + strings.Join(seen, "; ") + ")"
	}
	return "", errors.New(msg + "; name it with --kernel, or as kernel in the configuration")
}

// releaseOf is the release of a boot image: from its header, else from its name.
func releaseOf(image string) (string, error) {
	h, err := bzimage.ReadFile(image)
	if err != nil {
		return "", fmt.Errorf("the capture kernel: %w", err)
	}
	if h.Release != "" {
		return h.Release, nil
	}
	for _, prefix := range []string{"vmlinuz-", "Image-"} {
		if r, ok := strings.CutPrefix(filepath.Base(image), prefix); ok && r != "" {
			return r, nil
		}
	}
	if filepath.Base(filepath.Dir(filepath.Dir(image))) == "modules" {
		return filepath.Base(filepath.Dir(image)), nil
	}
	return "", fmt.Errorf("the capture kernel %s does not say its release (arm64's do not); call it vmlinuz-RELEASE", image)
}

// readSmall reads a file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, err
}

func readLine(path string) (string, error) {
	b, err := readSmall(path, 1<<16)
	return strings.TrimSpace(string(b)), err
}
