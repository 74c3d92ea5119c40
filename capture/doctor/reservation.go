package doctor

import (
	"strconv"
	"strings"

	"kdx/capture/estimate"
	"kdx/capture/reserve"
)

func (h *host) reserved() uint64 {
	if h.reserve.Bytes == nil {
		return 0
	}
	return *h.reserve.Bytes
}

func reserveAsked(h *host) outcome {
	var words []string
	for _, w := range h.cmdline {
		if strings.Contains(w, "crashkernel=") {
			words = append(words, w)
		}
	}
	if len(words) == 0 {
		if h.reserved() > 0 {
			return ok("%s are reserved without being asked for", reserve.Size(h.reserved()))
		}
		return bad("/proc/cmdline has no crashkernel=").do("%s", addWords(h))
	}
	return ok("%s", strings.Join(words, " "))
}

func addWords(h *host) string {
	e := h.estimate()
	return "add " + e.Words + " to the kernel's command line in the boot loader's configuration (kdx capture size says why that much), and boot"
}

func reserveMade(h *host) outcome {
	switch h.reserve.State {
	case reserve.Hidden:
		return unknown("%s", strings.Join(h.reserve.Notes, "; ")).do("run it as root")
	case reserve.NotAsked:
		return skip("nothing was asked for")
	case reserve.Refused:
		return bad("nothing is reserved: %s", strings.Join(h.reserve.Notes, "; "))
	}
	return ok("%s", reserve.Size(h.reserved()))
}

func reserveWhole(h *host) outcome {
	switch h.reserve.State {
	case reserve.Differs:
		return bad("%s reserved: %s", reserve.Size(h.reserved()), strings.Join(h.reserve.Notes, "; "))
	case reserve.Reserved:
		return ok("as crashkernel= asks")
	case reserve.Unchecked:
		return unknown("%s", strings.Join(h.reserve.Notes, "; "))
	}
	return skip("nothing is reserved")
}

func reserveSize(h *host) outcome {
	n := h.mainPart()
	if n == 0 {
		return skip("nothing is reserved")
	}
	e := h.estimate()
	if !e.Enough(n) {
		return bad("%s are reserved, %s are needed at least", mebi(n), mebi(e.Least)).do("%s", addWords(h))
	}
	return ok("%s are reserved, kdx asks for %s", mebi(n), mebi(e.Size))
}

func reserveMargin(h *host) outcome {
	n := h.mainPart()
	e := h.estimate()
	if n == 0 || !e.Enough(n) {
		return skip("less is reserved than is needed at all")
	}
	if n < e.Peak {
		return bad("%s are reserved, kdx reckons with %s; it may do, or run out of memory", mebi(n), mebi(e.Peak)).do("%s; or prove with kdx capture test that it does", addWords(h))
	}
	return ok("%s beyond what is needed at least", mebi(n-e.Least))
}

func reserveWaste(h *host) outcome {
	n := h.mainPart()
	if n == 0 {
		return skip("nothing is reserved")
	}
	e := h.estimate()
	if n > 3*e.Size {
		return bad("%s are reserved, kdx asks for %s", mebi(n), mebi(e.Size)).do("%s gives the rest back to the host, if nothing else captures with it", e.Words)
	}
	return ok("%s reserved, %s asked for by kdx", mebi(n), mebi(e.Size))
}

// mainPart is the region that the capture kernel lies in: the largest.
func (h *host) mainPart() uint64 {
	if len(h.reserve.Places) == 0 {
		return h.reserved()
	}
	var most uint64
	for _, p := range h.reserve.Places {
		most = max(most, p.Bytes)
	}
	return most
}

const fourGiB = 4 << 30

func reserveLow(h *host) outcome {
	if len(h.reserve.Places) == 0 {
		return skip("where the reservation lies is not known")
	}
	var low, high uint64
	for _, p := range h.reserve.Places {
		if start, err := strconv.ParseUint(p.Start, 0, 64); err == nil && start < fourGiB {
			low += p.Bytes
		} else {
			high += p.Bytes
		}
	}
	switch {
	case high == 0:
		return skip("all of it lies below 4 GiB")
	case low < 64<<20:
		return bad("%s above 4 GiB, %s below", mebi(high), mebi(low))
	}
	return ok("%s above 4 GiB, %s below", mebi(high), mebi(low))
}

// reserveNext looks whether the boot loader's configuration asks for it, too: words that were typed at the boot prompt are gone after the next boot.
func reserveNext(h *host) outcome {
	var looked []string
	patterns := []string{"boot/grub/grub.cfg", "boot/grub2/grub.cfg", "boot/loader/entries/*.conf", "boot/efi/loader/entries/*.conf", "efi/loader/entries/*.conf", "etc/kernel/cmdline",
		"etc/default/grub", "etc/default/grub.d/*.cfg", "boot/extlinux/extlinux.conf", "boot/syslinux/syslinux.cfg", "boot/firmware/cmdline.txt"}
	for _, p := range patterns {
		for _, name := range h.glob(p) {
			rel := strings.TrimPrefix(strings.TrimPrefix(name, strings.TrimSuffix(h.base, "/")), "/")
			b, err := h.read(rel)
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(b)) {
				if strings.Contains(line, "crashkernel=") && !strings.HasPrefix(strings.TrimSpace(line), "#") {
					return ok("/%s asks for it", rel)
				}
			}
			looked = append(looked, "/"+rel)
		}
	}
	if len(looked) == 0 {
		return skip("no boot loader's configuration that kdx knows is found")
	}
	if h.reserved() == 0 {
		return skip("nothing is reserved now")
	}
	return bad("crashkernel= stands in none of %s", strings.Join(looked, ", "))
}

// estimate is how much this host needs.
func (h *host) estimate() estimate.Result { return estimate.Of(h.estimateInput()) }

func (h *host) estimateInput() estimate.Input {
	if h.input == nil {
		in, _ := estimate.FromHost(h.ctx, h.opt.Root, h.opt.Arch, h.config())
		h.input = &in
	}
	return *h.input
}
