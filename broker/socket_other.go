//go:build !unix

package broker

import "errors"

// canWriteSocket says whether writeSocket works here.
const canWriteSocket = false

func writeSocket(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
