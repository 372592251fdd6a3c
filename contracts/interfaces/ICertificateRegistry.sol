// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title ICertificateRegistry
/// @notice Which certificates were issued (anchored) and which of them are revoked.
/// @dev Certificates are anchored in batches of 1 to 1,000 with consecutive serials. A batch stores one word, which
/// commits to the Merkle root of its certificates and to their number; the certificates themselves are in the events.
/// Every function that names an authority reverts with `CertificateRegistryUnknownAuthority` when it is not registered,
/// before the caller is looked at; `open` and the views are the exceptions.
interface ICertificateRegistry {
    /// @notice Where an authority stands.
    /// @dev Unregistered: there is no such authority. Active: issues, and its certificates count. Closed: issues no
    /// more, earlier certificates live until they expire. Suspended: nothing of it counts, whenever anchored, until it
    /// is lifted. ClosedSuspended: the same, and lifting leads back to Closed. Retired: nothing of it counts, for ever.
    enum State {
        Unregistered,
        Active,
        Closed,
        Suspended,
        ClosedSuspended,
        Retired
    }

    /// @notice What the chain can say about a certificate.
    enum Verdict {
        NotAnchored,
        Valid,
        Expired,
        Revoked,
        Suspended
    }

    /// @notice What changes about an authority.
    /// @dev Packs into exactly one word, `operator` lowest: 160 + 32 + 32 + 24 + 8 bits.
    /// @param operator Who may issue.
    /// @param nextSerial The serial that the next certificate gets; the first one got 1.
    /// @param revokedCount How many serials are revoked one by one: the number of bits set in all revocation words.
    /// @param maximumLifetime The furthest that a certificate's end may lie ahead when it is issued, in minutes.
    /// @param state Where the authority stands.
    struct Issuer {
        address operator;
        uint32 nextSerial;
        uint32 revokedCount;
        uint24 maximumLifetime;
        State state;
    }

    /// @notice What one certificate puts on chain.
    /// @param certificateHash SHA-256 of the SSH certificate blob or of the DER certificate.
    /// @param subject The device's address in the upper 160 bits (zero for none), notAfter in the lower 96: the first
    /// second, since 1970, in which the certificate no longer counts.
    /// @param locator The masked digest of the sealed bundle; zero when there is none.
    struct Entry {
        bytes32 certificateHash;
        uint256 subject;
        bytes32 locator;
    }

    /// @notice An authority was opened for issuing.
    event IssuerOpened(bytes32 indexed ca, address indexed operator, uint24 maximumLifetime);

    /// @notice A certificate was anchored.
    event CertificateIssued(
        bytes32 indexed ca,
        address indexed device,
        uint32 indexed serial,
        bytes32 certificateHash,
        uint96 notAfter,
        bytes32 locator
    );

    /// @notice A batch was anchored, after its certificates' own events.
    event BatchIssued(bytes32 indexed ca, uint32 indexed firstSerial, uint32 count, bytes32 root);

    /// @notice A certificate was revoked, for ever.
    event CertificateRevoked(bytes32 indexed ca, uint32 indexed serial, address indexed by);

    /// @notice Every certificate with a serial below `serial` was revoked, for ever.
    event RevokedBelow(bytes32 indexed ca, uint32 serial, address indexed by);

    /// @notice An authority went from one state to another.
    event StateChanged(bytes32 indexed ca, State from, State to, address indexed by);

    /// @notice An authority's operator changed.
    event OperatorChanged(bytes32 indexed ca, address indexed previous, address indexed current);

    /// @notice `revoker` may now revoke certificates of the authority, or no longer may.
    event RevokerChanged(bytes32 indexed ca, address indexed revoker, bool allowed);

    /// @notice An authority's maximum lifetime changed, for what is issued from here on.
    event MaximumLifetimeChanged(bytes32 indexed ca, uint24 minutes_);

    /// @notice The caller does not hold the role that the function asks for.
    error CertificateRegistryUnauthorized(address caller);

    /// @notice There is no such authority.
    error CertificateRegistryUnknownAuthority(bytes32 ca);

    /// @notice The authority's state does not allow this: issuing asks for Active, a new operator or maximum lifetime
    /// for anything but Retired.
    error CertificateRegistryNotActive(bytes32 ca, State state);

    /// @notice The batch does not begin at the next serial: another one was anchored in between, or this one already.
    error CertificateRegistryUnexpectedSerial(bytes32 ca, uint32 given, uint32 expected);

    /// @notice A batch has 1 to 1,000 certificates.
    error CertificateRegistryInvalidBatchSize(uint256 count);

    /// @notice The entry for `serial` has no certificate hash.
    error CertificateRegistryZeroCertificateHash(uint32 serial);

    /// @notice The entry for `serial` ends later than the authority's maximum lifetime allows.
    error CertificateRegistryLifetimeExceeded(uint32 serial, uint96 notAfter, uint256 latest);

    /// @notice The batch would go past the last serial that there is.
    error CertificateRegistrySerialsExhausted(bytes32 ca);

    /// @notice The serial was never issued. Issued are 1 up to, not including, `nextSerial`.
    error CertificateRegistryNotIssued(bytes32 ca, uint32 serial, uint32 nextSerial);

    /// @notice All of the given serials were revoked before, or none was given.
    error CertificateRegistryNothingRevoked(bytes32 ca);

    /// @notice The watermark only rises.
    error CertificateRegistryWatermarkNotRaised(bytes32 ca, uint32 current, uint32 given);

    /// @notice There is no such way out of the state that the authority is in.
    error CertificateRegistryInvalidTransition(bytes32 ca, State from);

    /// @notice An authority has to have an operator; to stop it, close, suspend or retire it.
    error CertificateRegistryZeroOperator(bytes32 ca);

    /// @notice With a maximum lifetime of zero nothing could be issued; to stop an authority, close it.
    error CertificateRegistryZeroLifetime(bytes32 ca);

    /// @notice Opens an authority for issuing; its first serial is 1.
    /// @dev Only the domain's authority registry, when it registers the authority.
    /// @param ca The authority.
    /// @param operator Who may issue.
    /// @param maximumLifetime In minutes.
    function open(bytes32 ca, address operator, uint24 maximumLifetime) external;

    /// @notice Anchors a batch of certificates.
    /// @dev Only the authority's operator, and only in state Active. The chain can not see inside a certificate: that
    /// it is signed by the authority and agrees with its entry is for every verifier to check. An end in the past is
    /// allowed.
    /// @param ca The authority.
    /// @param firstSerial The first certificate's serial: the next one, or the call reverts.
    /// @param entries The certificates, 1 to 1,000, in the order of their serials.
    function issue(bytes32 ca, uint32 firstSerial, Entry[] calldata entries) external;

    /// @notice Revokes certificates one by one, for ever.
    /// @dev Only the authority's operator, its revokers and the governor, in every state. Serials that were revoked
    /// before are passed over, but one at least has to be new. Below the watermark a serial's own bit counts as new.
    /// @param ca The authority.
    /// @param serials What to revoke; all of it issued.
    function revoke(bytes32 ca, uint32[] calldata serials) external;

    /// @notice Revokes every certificate with a serial below `serial`, for ever, at the price of one.
    /// @dev Only the authority's operator, its revokers and the governor, in every state.
    /// @param ca The authority.
    /// @param serial The new watermark: above the one before, at most the next serial.
    function revokeBelow(bytes32 ca, uint32 serial) external;

    /// @notice Suspends an authority: nothing of it counts until it is lifted.
    /// @dev Only the governor and the guardian. Active becomes Suspended, Closed becomes ClosedSuspended.
    function suspend(bytes32 ca) external;

    /// @notice Takes a suspension back.
    /// @dev Only the governor. Suspended becomes Active, ClosedSuspended becomes Closed.
    function lift(bytes32 ca) external;

    /// @notice Closes an authority: it issues no more, earlier certificates live until they expire.
    /// @dev Only the governor. Active becomes Closed, Suspended becomes ClosedSuspended. There is no way back.
    function close(bytes32 ca) external;

    /// @notice Retires an authority: nothing of it counts, for ever.
    /// @dev Only the governor, from every state but Retired.
    function retire(bytes32 ca) external;

    /// @notice Replaces an authority's operator.
    /// @dev Only the governor; not when Retired.
    /// @param ca The authority.
    /// @param operator The new operator, not zero.
    function setOperator(bytes32 ca, address operator) external;

    /// @notice Lets `revoker` revoke certificates of an authority, or takes that from it. A revoker can not issue.
    /// @dev Only the governor, in every state.
    function setRevoker(bytes32 ca, address revoker, bool allowed) external;

    /// @notice Changes an authority's maximum lifetime. What was issued before stays as it is.
    /// @dev Only the governor; not when Retired.
    /// @param ca The authority.
    /// @param maximumLifetime In minutes, not zero.
    function setMaximumLifetime(bytes32 ca, uint24 maximumLifetime) external;

    /// @notice What changes about the authority `ca`; all zero when there is none.
    function issuer(bytes32 ca) external view returns (Issuer memory);

    /// @notice The watermark: every certificate of `ca` with a serial below it is revoked.
    function revokedBelow(bytes32 ca) external view returns (uint32);

    /// @notice The word that commits to the batch of `ca` that begins at `firstSerial`; zero when none begins there.
    function commitment(bytes32 ca, uint32 firstSerial) external view returns (bytes32);

    /// @notice Revocation bits of the serials 256 * `index` (lowest bit) to 256 * `index` + 255. The watermark is not
    /// in them.
    function revocationWord(bytes32 ca, uint256 index) external view returns (uint256);

    /// @notice Whether `account` was named as a revoker of `ca`.
    function isRevoker(bytes32 ca, address account) external view returns (bool);

    /// @notice Whether `serial` is revoked, by itself or by the watermark. Says nothing of whether it was ever issued,
    /// nor of the authority's state.
    function isRevoked(bytes32 ca, uint32 serial) external view returns (bool);

    /// @notice What the chain can say about a certificate, at this block.
    /// @dev The first of these that holds: NotAnchored (entry, serial, path and count do not lead to the commitment,
    /// or watchdogs have yet to confirm the batch), Revoked (itself, by the watermark, by its authority being Retired
    /// or its device retired), Suspended (its authority is), Expired (notAfter has come), Valid. That the certificate
    /// is signed and says what its entry says is for the caller to check.
    /// @param ca The authority.
    /// @param firstSerial The first serial of the certificate's batch.
    /// @param count The number of certificates in the batch.
    /// @param serial The certificate's serial.
    /// @param entry What the certificate put on chain; the locator is not looked at.
    /// @param path The sibling hashes from the leaf upwards.
    function verify(
        bytes32 ca,
        uint32 firstSerial,
        uint32 count,
        uint32 serial,
        Entry calldata entry,
        bytes32[] calldata path
    ) external view returns (Verdict);
}
