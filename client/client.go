package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// Options are the options of a [Client]. The zero value of each is its default.
//
// The functions are called by the goroutine that ranges over [Client.Events],
// one at a time, with no lock held. They may call the Client's methods, except
// for ranging over Events again, and end the context.
type Options struct {
	// Method is the method of every request. "" is GET.
	Method string

	// Header is sent with every request, except for Last-Event-ID, which the
	// Client sets. Accept is text/event-stream and Cache-Control is no-cache
	// unless Header has them. Host replaces the URL's host in the request, as
	// the field of that name in http.Request does. The Client has its own copy.
	Header http.Header

	// Body is sent with every request, and again on a redirect with 307 or
	// 308. Its Content-Type is Header's to say. Empty is no body. The Client
	// has its own copy.
	Body []byte

	// Prepare, if not nil, is called with the request of every attempt before
	// it is sent, for instance to set a fresh token. It may change the request
	// as it likes and keep it until the attempt is over; what it sets does not
	// leave the origin of the request, like Header; another origin gets Body
	// in place of a body that it has set. The request's context ends with that
	// of Events and on Reconnect. An error ends the iteration, which yields it
	// wrapped, unless Reconnect has ended the attempt: then another follows.
	Prepare func(*http.Request) error

	// HTTPClient sends the requests. nil is http.DefaultClient. The Client uses
	// a copy, and with it the Transport and the Jar. Its CheckRedirect, if
	// any, replaces the limit of 20 redirects; it sees a redirected request
	// without what must not leave the origin. Its Timeout should be 0: it
	// covers the reading of the stream, and so ends healthy ones as well; the
	// Logger is told. A body from a Transport of your own must allow Close
	// while Read is under way. Over HTTP/2, a WriteByteTimeout in the
	// Transport's HTTP2 ends connections to a server that does not read.
	HTTPClient *http.Client

	// LastEventID is the ID of the event after which to start. "" starts where
	// the server lets new clients start.
	LastEventID string

	// MinBackoff is how long the first wait of a row is, until the server sends
	// a retry field, which replaces it. Each wait is twice the one before, but
	// no longer than MaxBackoff; a first wait above that stays as it is. 0 is
	// 1 s and 30 s. A negative MinBackoff is 10 ms, a negative MaxBackoff no
	// limit.
	//
	// No wait is shorter than the server's retry time, the response's
	// Retry-After (of each, 5 minutes count at most) or 10 ms. Up to half of
	// the wait is added at random.
	//
	// A row of waits ends when an event arrives, or with a connection that
	// lived longer than MaxBackoff, if that has a limit.
	MinBackoff, MaxBackoff time.Duration

	// MaxAttempts is how many attempts may fail in a row before the iteration
	// ends with the error of the last one: 1 never tries again what failed. An
	// attempt fails if it has no stream, or one that ends without an event
	// before MaxBackoff has passed. A stream that has brought an event has not
	// failed, however it ends, and is followed by another attempt: for one
	// request and no more, have Retryable return false. An attempt that
	// Reconnect ends does not count. 0 and less is no limit.
	MaxAttempts int

	// IdleTimeout is how long the server may be silent before the connection
	// counts as lost, with [ErrIdle]: how long until the header of the response
	// has arrived, connecting and redirects included, and how long without a
	// byte of the body from then on. Comments, such as heartbeats, are bytes;
	// what the consumer takes for an event does not count. 0 and less is no
	// limit. It should be at least twice the server's heartbeat interval.
	IdleTimeout time.Duration

	// MaxEventSize is the size in bytes of the largest event, as
	// [sse.Decoder.SetMaxEventSize] has it. A larger one ends the stream with
	// [sse.ErrTooLong]. 0 is [sse.DefaultMaxEventSize], negative no limit.
	MaxEventSize int

	// Retryable says whether an attempt that ended with this error is followed
	// by another. The error is one that OnRetry can get. nil is: always, but
	// not after a [*ResponseError] whose status is neither 408 nor 429 nor
	// 5xx, and not after [sse.ErrTooLong]. A URL or a Header that no request can be
	// made with and an error of Prepare are final, and Retryable is not asked.
	Retryable func(error) bool

	// OnConnect, if not nil, is called when a stream is open, before its first
	// event. The response is the last one if there were redirects; its Body is
	// empty, for the Client reads the stream.
	OnConnect func(*http.Response)

	// OnRetry, if not nil, is called before each wait: with the error that
	// ended the attempt, and how long the wait is. The error is io.EOF if the
	// stream ended cleanly (without chunks, as a Broker's over HTTP/1.1, any end
	// is a clean one), io.ErrUnexpectedEOF if it ended inside a block,
	// [ErrIdle], [sse.ErrTooLong], a [*ResponseError] or what net/http returned.
	OnRetry func(err error, delay time.Duration)

	// OnComment, if not nil, is called with the text of every comment line, as
	// soon as the line is read, which may be before the event around it is
	// complete.
	OnComment func(text string)

	// Logger is told about waits (Info), IDs that cannot be sent, and an
	// HTTPClient with a Timeout (Warn). nil is silent.
	Logger *slog.Logger
}

// errBusy is yielded by a second iteration at the same time.
var errBusy = errors.New("client: Events is already being ranged over")

// A Client is one stream of events, across all the connections that it takes to
// read it. Use [New] to make one.
//
// Its events are read by one goroutine at a time, which ranges over
// [Client.Events]; the Client starts another only to close the body of a
// response. The other methods are safe to be called from any goroutine at any
// time.
type Client struct {
	url  string
	opts Options     // with defaults; its Header and Body are the Client's own
	http http.Client // a copy, with redirects as CheckRedirect
	err  error       // why no request can ever be made; nil if one can

	// These belong to the run that has set ranging.
	decoder    *sse.Decoder
	unsendable string // the ID of the last attempt that the Logger was told about; "": there was none to tell

	lastEventID lastID // set by New and by the run

	mu      sync.Mutex // guards the following
	ranging bool
	drop    context.CancelCauseFunc // ends the turn of the current run; nil without one
}

// New returns a Client for the stream at the URL. It sends nothing; that is for
// [Client.Events] to do, which also reports a URL that has no scheme or host
// or cannot be parsed, and a Header that cannot be sent. opts may be nil; the Client
// has its own copy.
func New(url string, opts *Options) *Client {
	c := &Client{url: url}
	if opts != nil {
		c.opts = *opts
	}
	o := &c.opts
	if o.Method == "" {
		o.Method = http.MethodGet
	}
	o.Header = ownHeader(o.Header)
	c.err = cmp.Or(checkURL(url), checkHeader(o.Header))
	o.Body = bytes.Clone(o.Body)
	if o.Retryable == nil {
		o.Retryable = retryable
	}
	if o.HTTPClient == nil {
		o.HTTPClient = http.DefaultClient
	}
	c.http = *o.HTTPClient
	c.http.CheckRedirect = c.redirects(c.http.CheckRedirect)
	if c.http.Timeout != 0 {
		c.log(context.Background(), slog.LevelWarn, "client: the Timeout of the http.Client ends healthy streams too",
			slog.Duration("timeout", c.http.Timeout))
	}
	c.lastEventID.set(o.LastEventID)
	c.decoder = sse.NewDecoder(http.NoBody)
	c.decoder.SetMaxEventSize(o.MaxEventSize)
	return c
}

// Events returns an iterator over the events of the stream. Ranging over it
// connects, waits and reconnects as the package documentation says, until the
// loop is left, ctx ends, the server answers 204, or another attempt is futile.
// None of its resources outlives the loop.
//
// An error comes once, as the last element, with a zero event:
// [context.Cause] of ctx when that ends; otherwise one that wraps the error of
// the last attempt, or of Prepare, or says what is wrong with the URL or the Header. After a
// 204 there is none. Once ctx has ended no event is yielded, not even one that
// had been received.
//
// When the iteration has ended, Events may be ranged over again: it goes on
// after [Client.LastEventID], with the server's retry time, and with a new row
// of waits. While another iteration is under way it yields nothing but an error.
func (c *Client) Events(ctx context.Context) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		if err := c.events(ctx, yield); err != errOver {
			yield(sse.Event{}, err)
		}
	}
}

// events yields the events. It returns errOver if there is no error to yield.
func (c *Client) events(ctx context.Context, yield func(sse.Event, error) bool) error {
	if c.err != nil {
		return c.err
	}
	r, ok := c.begin(ctx, yield)
	if !ok {
		return errBusy
	}
	defer c.end()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := r.turn(); err != nil {
			return err
		}
	}
}

// begin returns a new run, if there is no other.
func (c *Client) begin(ctx context.Context, yield func(sse.Event, error) bool) (r *run, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ranging {
		return nil, false
	}
	c.ranging = true
	r = &run{
		client:      c,
		ctx:         ctx,
		yield:       yield,
		backoff:     newBackoff(c.opts.MinBackoff, c.opts.MaxBackoff),
		lastEventID: c.lastEventID.get(),
	}
	if c.opts.OnComment != nil {
		c.decoder.OnComment(r.comment)
	}
	return r, true
}

// end ends the run that begin returned, and keeps nothing of it.
func (c *Client) end() {
	c.decoder.Reset(http.NoBody, "")
	c.decoder.OnComment(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ranging = false
	c.drop = nil
}

// LastEventID returns the ID of the last event that was handed to the consumer,
// or that a later block without data has set; before that, Options.LastEventID.
// A loop over Events that gets an event sees its ID here.
func (c *Client) LastEventID() string { return c.lastEventID.get() }

// Reconnect drops the connection, or ends the wait for one, and makes Events
// open another at once. There is no wait in between, whatever the server asked
// for, no call of OnRetry, and no failed attempt to count. Events that were
// received but not handed over yet are dropped; the new connection resumes
// before them. Over HTTP/2 what is dropped is the stream: the new one may be on the
// same connection, but then no further one is.
//
// Reconnect does not wait for the new connection. Several calls for the same
// connection count as one. While no loop ranges over Events it does nothing.
func (c *Client) Reconnect() {
	c.mu.Lock()
	drop := c.drop
	c.mu.Unlock()
	if drop != nil {
		drop(errReconnect)
	}
}

// log writes to the Logger, if there is one.
func (c *Client) log(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	if c.opts.Logger != nil {
		c.opts.Logger.LogAttrs(ctx, level, msg, attrs...)
	}
}
