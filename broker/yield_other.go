//go:build !linux

package broker

func yieldCore() {}
