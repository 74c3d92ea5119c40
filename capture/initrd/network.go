package initrd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"kdx/capture/network"
	"kdx/capture/plan"
)

// overNetwork finds the way to the host of a target, and says by which interfaces it leads.
func (b *builder) overNetwork(p *plan.Target, why string) (string, error) {
	var err error
	if p.Addresses, err = b.addresses(p.Host); err != nil {
		return "", err
	}
	links, err := b.links(p.Host)
	if err != nil {
		return "", err
	}
	var names []string
	for _, l := range links {
		b.addLink(l)
		names = append(names, strings.TrimSpace(fmt.Sprintf("%s %s %s", l.Kind, l.Name, l.MAC)))
		for _, m := range l.Modules() {
			// Sockets of packets are for DHCP alone.
			b.needs = append(b.needs, wanted([]string{m}, why, m == "af_packet" && l.Mode == network.Static)...)
		}
	}
	return strings.Join(names, ", "), nil
}

// links are the configured interfaces, or those by which the host is reached now.
func (b *builder) links(host string) ([]network.Link, error) {
	if b.config.Networks == nil {
		return b.opt.discover(b.host.root, host)
	}
	var out []network.Link
	for _, n := range b.config.Networks {
		l, err := b.opt.fromConfig(b.host.root, n)
		if err != nil {
			return nil, fmt.Errorf("network %q: %w", n, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// addLink adds an interface to the plan. One that leads to several hosts is set up once, with the routes to all.
func (b *builder) addLink(l network.Link) {
	for i := range b.plan.Links {
		old := &b.plan.Links[i]
		if old.Name != l.Name || old.MAC != l.MAC {
			continue
		}
		for _, r := range l.Routes {
			if !slices.Contains(old.Routes, r) {
				old.Routes = append(old.Routes, r)
			}
		}
		return
	}
	b.plan.Links = append(b.plan.Links, l)
}

// lookupLimit is how long the name of a target's host may take.
const lookupLimit = 20 * time.Second

// addresses of a target's host, sorted: they travel with the plan, so that the capture kernel needs no name server.
func (b *builder) addresses(host string) ([]string, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []string{a.Unmap().String()}, nil
	}
	if b.host.root != "" {
		return nil, fmt.Errorf("%s can't be looked up in the place of another host; give its address", host)
	}
	ctx, cancel := context.WithTimeout(b.ctx, lookupLimit)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("its address: %w", err)
	}
	var out []string
	for _, a := range found {
		out = append(out, a.Unmap().String())
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
