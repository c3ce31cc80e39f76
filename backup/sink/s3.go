package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/supervisord/supervisord/backup"
)

// S3 is a bucket, or what is below a prefix in it.
type S3 struct {
	client *s3.Client
	bucket string
	prefix string
	// part is the size of the first parts of an upload; tests make it small.
	part int
}

// S3Options say where the bucket is and who asks for it.
type S3Options struct {
	// URL is s3://BUCKET or s3://BUCKET/PREFIX.
	URL string
	// Endpoint is the server's URL; empty for AWS. Region is "us-east-1" where
	// it is empty.
	Endpoint, Region string
	Credentials      Credentials
}

// firstPart is the size of the first parts. A server takes 10,000 of them; they
// grow so that an archive may have some terabytes.
const (
	firstPart = 16 << 20
	growEvery = 1000
)

// ParseS3 takes s3://BUCKET/PREFIX apart.
func ParseS3(url string) (bucket, prefix string, err error) {
	rest, ok := strings.CutPrefix(url, "s3://")
	bucket, prefix, _ = strings.Cut(rest, "/")
	prefix = strings.Trim(prefix, "/")
	if !ok || bucket == "" || strings.ContainsAny(rest, "?#@ ") || prefix != path.Clean("/" + prefix)[1:] {
		return "", "", fmt.Errorf("%q: want s3://BUCKET or s3://BUCKET/PREFIX", url)
	}
	return bucket, prefix, nil
}

// NewS3 makes a client. It asks nobody for anything yet.
func NewS3(o S3Options) (*S3, error) {
	bucket, prefix, err := ParseS3(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Credentials.AccessKey == "" {
		return nil, errors.New("there are no credentials for it")
	}
	region := o.Region
	if region == "" {
		region = "us-east-1"
	}
	so := s3.Options{
		Region:      region,
		Credentials: credentials.NewStaticCredentialsProvider(o.Credentials.AccessKey, o.Credentials.SecretKey, o.Credentials.SessionToken),
		// Servers that only speak the protocol do not know the newer checksums;
		// what was stored is read back in any case.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	if o.Endpoint != "" {
		so.BaseEndpoint = aws.String(o.Endpoint)
		so.UsePathStyle = true
	}
	return &S3{client: s3.New(so), bucket: bucket, prefix: prefix, part: firstPart}, nil
}

func (s *S3) String() string { return "s3://" + path.Join(s.bucket, s.prefix) }

func (s *S3) key(name string) *string { return aws.String(path.Join(s.prefix, name)) }

// Create implements backup.Target: a multipart upload, which is no object
// before it is completed.
func (s *S3) Create(ctx context.Context, name string) (backup.Upload, error) {
	made, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.bucket, Key: s.key(name)})
	if err != nil {
		return nil, explain(err)
	}
	return &upload{s: s, ctx: ctx, key: s.key(name), id: made.UploadId, size: s.part}, nil
}

// upload is a multipart upload under way. Parts go one after the other: what
// comes is a dump, which is slower.
type upload struct {
	s     *S3
	ctx   context.Context
	key   *string
	id    *string
	size  int
	part  bytes.Buffer
	parts []types.CompletedPart
	ended bool
}

func (u *upload) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		room := min(u.size-u.part.Len(), len(p))
		u.part.Write(p[:room])
		p = p[room:]
		if u.part.Len() == u.size {
			if err := u.flush(u.ctx); err != nil {
				return n - len(p), err
			}
		}
	}
	return n, nil
}

func (u *upload) flush(ctx context.Context) error {
	number := aws.Int32(int32(len(u.parts) + 1))
	done, err := u.s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.s.bucket, Key: u.key, UploadId: u.id, PartNumber: number, Body: bytes.NewReader(u.part.Bytes()),
	})
	if err != nil {
		return explain(err)
	}
	u.parts = append(u.parts, types.CompletedPart{ETag: done.ETag, PartNumber: number})
	u.part.Reset()
	if len(u.parts)%growEvery == 0 {
		u.size *= 2
	}
	return nil
}

func (u *upload) Commit(ctx context.Context) error {
	if u.part.Len() == 0 && len(u.parts) == 0 {
		// Servers take no empty part.
		name := strings.TrimPrefix(strings.TrimPrefix(*u.key, u.s.prefix), "/")
		return errors.Join(u.Abort(ctx), u.s.Put(ctx, name, nil))
	}
	if u.part.Len() > 0 {
		if err := u.flush(ctx); err != nil {
			return err
		}
	}
	_, err := u.s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &u.s.bucket, Key: u.key, UploadId: u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	})
	if err != nil {
		return explain(err)
	}
	u.ended = true
	return nil
}

func (u *upload) Abort(ctx context.Context) error {
	if u.ended {
		return nil
	}
	u.ended = true
	u.part = bytes.Buffer{}
	return u.s.abort(ctx, u.key, u.id)
}

func (s *S3) abort(ctx context.Context, key, id *string) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: key, UploadId: id})
	if noUpload(err) {
		return nil
	}
	return explain(err)
}

// noUpload says whether the server knows no such upload; some say so of an
// empty list, too.
func noUpload(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == "NoSuchUpload"
}

// Put implements backup.Target.
func (s *S3) Put(ctx context.Context, name string, data []byte) error {
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &s.bucket, Key: s.key(name), Body: bytes.NewReader(data)})
	return explain(err)
}

// Open implements backup.Target.
func (s *S3) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	got, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: s.key(name)})
	if err != nil {
		return nil, explain(err)
	}
	return got.Body, nil
}

// Names implements backup.Target.
func (s *S3) Names(ctx context.Context, dir string) ([]string, error) {
	prefix := *s.key(dir) + "/"
	var names []string
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix, Delimiter: aws.String("/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, explain(err)
		}
		for _, o := range page.Contents {
			if name := strings.TrimPrefix(aws.ToString(o.Key), prefix); name != "" {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// Remove implements backup.Target. Uploads of exactly this name that were not
// completed are aborted.
func (s *S3) Remove(ctx context.Context, name string) error {
	key := s.key(name)
	if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: key}); err != nil {
		if _, gone := errors.AsType[*types.NoSuchKey](err); !gone {
			return explain(err)
		}
	}
	pages := s3.NewListMultipartUploadsPaginator(s.client, &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: key})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if noUpload(err) {
			return nil
		}
		if err != nil {
			return explain(err)
		}
		for _, u := range page.Uploads {
			if aws.ToString(u.Key) != *key {
				continue
			}
			if err := s.abort(ctx, key, u.UploadId); err != nil {
				return err
			}
		}
	}
	return nil
}

// explain makes fs.ErrNotExist of what is not there, and a short sentence of
// what the server says.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*types.NoSuchKey](err); ok {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}
