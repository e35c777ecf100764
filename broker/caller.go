package broker

import (
	"errors"
	"net/http"
	"net/netip"
)

// errCrowd refuses a caller beyond [Options.MaxPerCaller].
var errCrowd = errors.New("broker: too many subscribers of one caller")

// remoteIP is the default of [Options.Caller].
func remoteIP(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr // a Unix socket, say
	}
	ip := from.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	// Whoever has one address of IPv6 has, as a rule, 2^64 of them.
	network, _ := ip.Prefix(64) // there is no such address with fewer bits
	return network.String()
}

// admitLocked counts s for its caller, or refuses it.
func (b *Broker) admitLocked(s *Subscription) error {
	if b.opts.MaxPerCaller <= 0 || s.caller == "" {
		return nil
	}
	if b.callers[s.caller] >= b.opts.MaxPerCaller {
		return errCrowd
	}
	b.callers[s.caller]++
	return nil
}

// dischargeLocked undoes admitLocked.
func (b *Broker) dischargeLocked(s *Subscription) {
	if b.opts.MaxPerCaller <= 0 || s.caller == "" {
		return
	}
	if b.callers[s.caller]--; b.callers[s.caller] == 0 {
		delete(b.callers, s.caller)
	}
}
