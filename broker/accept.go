package broker

import (
	"strconv"
	"strings"

	"github.com/fanfare-go/fanfare/sse"
)

// accepts reports whether the values of a header Accept allow an event stream.
// None do, and so do such that name nothing.
//
// RFC 9110, 5.6.1.2: "A recipient MUST parse and ignore a reasonable number of
// empty list elements".
//
// RFC 9110, 12.5.1: "Media ranges can be overridden by more specific media
// ranges or specific media types."
func accepts(values []string) bool {
	best, ok := 0, strings.Trim(strings.Join(values, ""), ", \t") == ""
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			name, params, _ := strings.Cut(part, ";")
			specific := 0
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "*/*":
				specific = 1
			case "text/*":
				specific = 2
			case sse.MediaType:
				specific = 3
			}
			if specific == 0 || specific < best {
				continue
			}
			wanted := weight(params) > 0
			ok = wanted || ok && specific == best
			best = specific
		}
	}
	return ok
}

// acceptsGzip reports whether the values of Accept-Encoding ask for gzip.
// Without any, a client may get everything, but those that can decompress say
// so.
//
// RFC 9110, 12.5.3: "The asterisk "*" symbol in an Accept-Encoding field matches
// any available content coding not explicitly listed in the field."
func acceptsGzip(values []string) bool {
	const unlisted = -1
	gzip, others, identity := float64(unlisted), float64(unlisted), float64(unlisted)
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			name, params, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "gzip", "x-gzip":
				gzip = max(gzip, weight(params))
			case "*":
				others = weight(params)
			case "identity":
				identity = weight(params)
			}
		}
	}
	if gzip == unlisted {
		gzip = others
	}
	return gzip > 0 && gzip >= identity
}

// weight returns the q of a media range; 1 without one, 0 if it is no number.
func weight(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return q
		}
	}
	return 1
}
