package kernel

// Live reports whether this is the running kernel, whose memory changes while it is read.
func (k *Kernel) Live() bool { return k.img.Info().Live }

// Forget drops the pages and translations that were remembered. The next command on a running kernel then reads them
// anew; within a command, pages stay as they were first read.
func (k *Kernel) Forget() {
	k.img.Forget()
	if a, ok := k.arch.(interface{ Forget() }); ok {
		a.Forget()
	}
}
