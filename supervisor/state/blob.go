package state

import (
	"strings"
	"time"
)

// Blob is a small file that all hosts have, by a path of names joined by "/",
// with its content sealed. The clients of CAs keep their accounts and their
// answers to challenges so.
type Blob struct {
	Key      string    `json:"key"`
	Data     Sealed    `json:"data"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

// PutBlob replaces a blob; Size is that of the text before it was sealed.
type PutBlob struct {
	second
	Key  string `json:"key"`
	Data Sealed `json:"data"`
	Size int64  `json:"size"`
}

// DeleteBlob removes a blob and all that are under it.
type DeleteBlob struct {
	second
	Key string `json:"key"`
}

func (PutBlob) kind() string    { return "put_blob" }
func (DeleteBlob) kind() string { return "delete_blob" }

const (
	// maxBlob is the most that one may hold; a log entry should stay small.
	maxBlob = 64 << 10
	// maxBlobs bounds them all together.
	maxBlobs = 4096
)

func (cmd PutBlob) apply(ch *change) error {
	_, there := ch.Blobs.Get(cmd.Key)
	switch {
	case cmd.Key == "" || strings.HasPrefix(cmd.Key, "/") || strings.HasSuffix(cmd.Key, "/"):
		return refuse("%q is no path of a blob", cmd.Key)
	case len(cmd.Data.Data) > maxBlob:
		return refuse("blob %s has %d bytes, at most %d may be kept", cmd.Key, len(cmd.Data.Data), maxBlob)
	case !there && ch.Blobs.Len() >= maxBlobs:
		return refuse("there are %d blobs", maxBlobs)
	}
	ch.Blobs = ch.Blobs.Put(cmd.Key, Blob{Key: cmd.Key, Data: cmd.Data, Size: cmd.Size, Modified: ch.now})
	return nil
}

func (cmd DeleteBlob) apply(ch *change) error {
	ch.Blobs = ch.Blobs.Delete(cmd.Key)
	for key := range ch.Blobs.Prefix(cmd.Key + "/") {
		ch.Blobs = ch.Blobs.Delete(key)
	}
	return nil
}
