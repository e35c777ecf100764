package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Every event carries its number behind a mark that occurs nowhere else in a
// response, so that what arrives can be counted exactly without parsing it.
const (
	mark       = '#'
	markDigits = 8
)

// numbered returns the data of event number n: the mark, the number, and
// letters up to size bytes.
func numbered(n, size int) string {
	b := make([]byte, 0, size)
	b = append(b, mark)
	digits := strconv.Itoa(n)
	for range markDigits - len(digits) {
		b = append(b, '0')
	}
	b = append(b, digits...)
	for len(b) < size {
		b = append(b, 'a'+byte(len(b)%26))
	}
	return string(b)
}

// anyNumber is a subscriber's next while it has seen nothing.
const anyNumber = -1

// A subscriber is the receiving end of one connection. It undoes the chunked
// transfer encoding, because a chunk may end inside a number, and finds the
// marks; what is around them it does not look at. The zero value with next set
// is ready for the first byte of a response.
type subscriber struct {
	next int // number of the event that must come next, or anyNumber

	at      place
	header  []byte // of the response, until it is complete
	chunked bool
	left    int // at inBody: bytes left of the chunk; at inSize: its size so far

	digits int // digits of a number that are still to come
	number int // its digits so far
}

// place is where in a response a subscriber is.
type place int

const (
	inHeader   place = iota
	inSize           // the line with the size of a chunk
	inBody           // the body, or a chunk of it
	inChunkEnd       // the line end after a chunk
)

// take accepts what was read from the connection and returns how many events it
// completed. An error means that the response is not a stream, or that an event
// is lost or came twice.
func (s *subscriber) take(p []byte) (events int, err error) {
	for len(p) > 0 {
		switch s.at {
		case inHeader:
			if p, err = s.takeHeader(p); err != nil {
				return events, err
			}
		case inSize:
			c := p[0]
			p = p[1:]
			switch {
			case c == '\n' && s.left == 0:
				return events, errors.New("the server ended the stream")
			case c == '\n':
				s.at = inBody
			case c != '\r':
				digit, err := strconv.ParseUint(string(c), 16, 4)
				if err != nil {
					return events, fmt.Errorf("malformed size of a chunk: %w", err)
				}
				s.left = s.left<<4 | int(digit)
			}
		case inBody:
			part := p[:min(len(p), s.left)]
			p = p[len(part):]
			n, err := s.takeBody(part)
			events += n
			if err != nil {
				return events, err
			}
			if s.chunked {
				if s.left -= len(part); s.left == 0 {
					s.at = inChunkEnd
				}
			}
		case inChunkEnd:
			if p[0] == '\n' {
				s.at = inSize
			}
			p = p[1:]
		}
	}
	return events, nil
}

// takeHeader returns what of p follows the header of the response.
func (s *subscriber) takeHeader(p []byte) (rest []byte, err error) {
	s.header = append(s.header, p...)
	header, rest, found := bytes.Cut(s.header, []byte("\r\n\r\n"))
	if !found {
		return nil, nil
	}
	if !bytes.HasPrefix(header, []byte("HTTP/1.1 200 ")) {
		return nil, fmt.Errorf("not a stream: %q", header)
	}
	s.chunked = strings.Contains(strings.ToLower(string(header)), "\r\ntransfer-encoding: chunked")
	if s.chunked {
		s.at = inSize
	} else {
		s.at, s.left = inBody, math.MaxInt
	}
	s.header = nil
	return rest, nil
}

func (s *subscriber) takeBody(p []byte) (events int, err error) {
	for len(p) > 0 {
		if s.digits == 0 {
			i := bytes.IndexByte(p, mark)
			if i < 0 {
				break
			}
			p = p[i+1:]
			s.digits, s.number = markDigits, 0
		}
		n := min(s.digits, len(p))
		for _, c := range p[:n] {
			s.number = s.number*10 + int(c-'0')
		}
		p = p[n:]
		if s.digits -= n; s.digits > 0 {
			break
		}
		if s.next != anyNumber && s.number != s.next {
			return events, fmt.Errorf("event %d came where %d was next: one is lost or came twice", s.number, s.next)
		}
		s.next = s.number + 1
		events++
	}
	return events, nil
}
