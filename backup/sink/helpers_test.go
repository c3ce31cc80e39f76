package sink

import (
	"crypto/sha256"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func listParts(u *upload) *s3.ListPartsInput {
	return &s3.ListPartsInput{Bucket: &u.s.bucket, Key: u.key, UploadId: u.id}
}

// sum is text that does not compress.
func sum(i int) []byte {
	var out []byte
	for n := range 4 {
		s := sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(n)})
		out = append(out, s[:]...)
	}
	return out
}
