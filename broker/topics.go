package broker

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
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

// orDefault returns a copy of topics without repetitions, or the default topic if
// there are none.
func orDefault(topics []string) []string {
	if len(topics) == 0 {
		return []string{""}
	}
	return distinct(topics)
}

// distinct returns a copy of topics without repetitions, sorted.
func distinct(topics []string) []string {
	topics = slices.Clone(topics)
	if len(topics) > 1 {
		slices.Sort(topics)
		topics = slices.Compact(topics)
	}
	return slices.Clip(topics) // it is handed out, and nobody is to append to it in place
}

// without returns a copy of topics without those that were removed.
func without(topics, removed []string) []string {
	return slices.DeleteFunc(slices.Clone(topics), among(removed, len(topics)))
}

// both returns what is in topics and in all, without repetitions.
func both(topics, all []string) []string {
	isOne := among(all, len(topics))
	return slices.DeleteFunc(distinct(topics), func(t string) bool { return !isOne(t) })
}

// among returns a function that reports whether a topic is one of topics, which
// may be thousands. It will be called about so many times.
func among(topics []string, calls int) func(topic string) bool {
	const few = 8 // up to which comparing them all is faster than hashing
	if min(len(topics), calls) <= few {
		return func(t string) bool { return slices.Contains(topics, t) }
	}
	set := make(map[string]bool, len(topics))
	for _, t := range topics {
		set[t] = true
	}
	return func(t string) bool { return set[t] }
}
