package broker

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/fanfare-go/fanfare/sse"
)

// QueryTopics returns a function for [Options.Topics]: the topics are the
// values of the query parameter. A request without any is refused with 400, one
// that names a topic which is not among allowed with 404; with none allowed,
// that is every one. The slice is not kept.
func QueryTopics(param string, allowed ...string) func(*http.Request) ([]string, error) {
	set := make(map[string]bool, len(allowed))
	for _, topic := range allowed {
		set[topic] = true
	}
	return func(r *http.Request) ([]string, error) {
		topics, err := queryTopics(r, param)
		if err != nil {
			return nil, err
		}
		for _, topic := range topics {
			if !set[topic] {
				return nil, &StatusError{http.StatusNotFound, fmt.Errorf("unknown topic %.100q", topic)}
			}
		}
		return topics, nil
	}
}

// AnyQueryTopic returns a function for [Options.Topics]: the topics are the
// values of the query parameter, whatever the caller names. A request without
// any is refused with 400. It is for public topics only.
func AnyQueryTopic(param string) func(*http.Request) ([]string, error) {
	return func(r *http.Request) ([]string, error) { return queryTopics(r, param) }
}

func queryTopics(r *http.Request, param string) ([]string, error) {
	topics := r.URL.Query()[param]
	if len(topics) == 0 {
		return nil, &StatusError{http.StatusBadRequest, errors.New("no topic named by the query parameter " + param)}
	}
	return topics, nil
}

// accepts reports whether the values of a header Accept allow an event stream.
// None do.
//
// RFC 9110, 12.5.1: "Media ranges can be overridden by more specific media
// ranges or specific media types."
func accepts(values []string) bool {
	best, ok := 0, strings.TrimSpace(strings.Join(values, "")) == ""
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
