package own

import "kdx/analyze/resolved"

// fits reports whether types that were taken along are of the dump's kernel.
func (f *Finders) fits(t *resolved.Types) bool {
	if t == nil {
		return false
	}
	if err := t.Fits(f.K.VMCoreInfo()); err != nil {
		f.K.Log().Info(err.Error())
		return false
	}
	return true
}
