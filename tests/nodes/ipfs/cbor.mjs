// What js-ipfs's own DAG-CBOR makes of values that were encoded elsewhere: they are read, and written again.
//
// Argument: JSON, a list of encodings in hexadecimal. Prints one in hexadecimal a line.
import { decode, encode } from '@ipld/dag-cbor'

for (const text of JSON.parse(process.argv[2])) {
  console.log(Buffer.from(encode(decode(Buffer.from(text, 'hex')))).toString('hex'))
}
