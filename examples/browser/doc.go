// Package browser holds no code, only tests: they serve foreign programs from
// a fanfare broker. Those are Chromium and its EventSource, nginx with its
// default configuration, the npm package eventsource, and curl.
package browser
