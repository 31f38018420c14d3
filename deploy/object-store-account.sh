#!/bin/sh
# Makes the bucket and an account that may use it and nothing else, as the store's root.
# The replicas get this account: who takes one over can't reach other buckets, accounts
# or settings of the store. It may run again at any time; a new password is taken over.
set -eu

folder=${TMPDIR:-/tmp}
export MC_CONFIG_DIR="$folder/mc"
client=$(command -v mc || command -v mcli)

cat >"$folder/policy.json" <<EOF
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["s3:GetBucketLocation", "s3:ListBucket"],
      "Resource": ["arn:aws:s3:::$BUCKET"]
    },
    {
      "Effect": "Allow",
      "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
      "Resource": ["arn:aws:s3:::$BUCKET/*"]
    }
  ]
}
EOF

"$client" --quiet alias set store "$STORE_URL" "$ROOT_USER" "$ROOT_PASSWORD"
"$client" --quiet mb --ignore-existing "store/$BUCKET"
"$client" --quiet admin policy create store paintonce "$folder/policy.json"
"$client" --quiet admin user add store "$ACCOUNT" "$ACCOUNT_PASSWORD"
# Attaching what is attached is an error, so it is looked at first.
case $("$client" --quiet admin user info store "$ACCOUNT") in
  *"PolicyName: paintonce"*) ;;
  *) "$client" --quiet admin policy attach store paintonce --user "$ACCOUNT" ;;
esac
