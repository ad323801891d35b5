/* unixfs_fields.h - the fields of dag-pb nodes and of UnixFS data, as Protocol Buffers write them.
 *
 * A key is field << 3 | type; type 0 is a varint, 2 is bytes after their length. Internal to codec.
 */
#ifndef MLP_CODEC_UNIXFS_FIELDS_H
#define MLP_CODEC_UNIXFS_FIELDS_H

enum mlp_unixfs_field {
    MLP_NODE_DATA = 0x0A,       /* PBNode.Data = 1 */
    MLP_NODE_LINK = 0x12,       /* PBNode.Links = 2 */
    MLP_LINK_HASH = 0x0A,       /* PBLink.Hash = 1 */
    MLP_LINK_NAME = 0x12,       /* PBLink.Name = 2 */
    MLP_LINK_TSIZE = 0x18,      /* PBLink.Tsize = 3 */
    MLP_DATA_TYPE = 0x08,       /* Data.Type = 1 */
    MLP_DATA_DATA = 0x12,       /* Data.Data = 2 */
    MLP_DATA_FILESIZE = 0x18,   /* Data.filesize = 3 */
    MLP_DATA_BLOCKSIZES = 0x20, /* Data.blocksizes = 4, not packed */
};

enum mlp_unixfs_type {
    MLP_TYPE_RAW = 0, /* what old writers call a leaf */
    MLP_TYPE_FILE = 2,
};

#endif
