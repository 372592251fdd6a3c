// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DomainPart} from "./DomainPart.sol";
import {MerkleTree} from "./MerkleTree.sol";
import {ICertificateRegistry} from "./interfaces/ICertificateRegistry.sol";
import {IDeviceRegistry} from "./interfaces/IDeviceRegistry.sol";
import {ITrustDomain} from "./interfaces/ITrustDomain.sol";

/// @title CertificateRegistry
/// @notice The anchored and the revoked certificates of a trust domain.
/// @dev Invariants:
/// I1. Only an authority's operator issues, and only while it is Active.
/// I2. Serials of an authority are 1, 2, 3, …: none is skipped, none is ever used twice.
/// I3. A commitment, once written, never changes; one stands at the first serial of every batch and nowhere else.
/// I4. Only an authority's operator, its revokers and the governor revoke, in every state.
/// I5. Only issued serials are revoked, and revoked is for ever: no bit is ever cleared, the watermark never falls.
/// I6. `revokedCount` is the number of bits set in all of an authority's revocation words.
/// I7. The watermark is at most the next serial.
/// I8. Retired is for ever. Closed is never Active again. Only the governor changes a state, but for the guardian, who
///     may suspend.
/// I9. An authority always has an operator and a maximum lifetime.
/// I10. Issuing calls no other contract, and neither does its operator's revoking.
contract CertificateRegistry is ICertificateRegistry, DomainPart {
    uint256 internal constant MAXIMUM_BATCH_SIZE = 1000;
    bytes32 internal constant LEAF_TYPE = keccak256("dpki leaf v1");

    mapping(bytes32 ca => Issuer) internal _issuers;
    /// @inheritdoc ICertificateRegistry
    mapping(bytes32 ca => uint32) public revokedBelow;
    mapping(bytes32 ca => mapping(uint256 firstSerial => bytes32)) internal _commitments;
    mapping(bytes32 ca => mapping(uint256 index => uint256)) internal _revocations;
    /// @inheritdoc ICertificateRegistry
    mapping(bytes32 ca => mapping(address account => bool)) public isRevoker;

    constructor(ITrustDomain domain_) DomainPart(domain_) {}

    // -- the authority registry ------------------------------------------------------------------------------------

    /// @inheritdoc ICertificateRegistry
    function open(bytes32 ca, address operator, uint24 maximumLifetime) external {
        require(msg.sender == address(domain.authorities()), CertificateRegistryUnauthorized(msg.sender));
        State state = _issuers[ca].state;
        require(state == State.Unregistered, CertificateRegistryInvalidTransition(ca, state));
        require(operator != address(0), CertificateRegistryZeroOperator(ca));
        require(maximumLifetime != 0, CertificateRegistryZeroLifetime(ca));

        _issuers[ca] = Issuer({
            operator: operator, nextSerial: 1, revokedCount: 0, maximumLifetime: maximumLifetime, state: State.Active
        });
        emit IssuerOpened(ca, operator, maximumLifetime);
    }

    // -- the operator ----------------------------------------------------------------------------------------------

    /// @inheritdoc ICertificateRegistry
    function issue(bytes32 ca, uint32 firstSerial, Entry[] calldata entries) external {
        Issuer storage current = _known(ca);
        require(msg.sender == current.operator, CertificateRegistryUnauthorized(msg.sender));
        require(current.state == State.Active, CertificateRegistryNotActive(ca, current.state));
        require(
            firstSerial == current.nextSerial,
            CertificateRegistryUnexpectedSerial(ca, firstSerial, current.nextSerial)
        );
        uint256 count = entries.length;
        require(count > 0 && count <= MAXIMUM_BATCH_SIZE, CertificateRegistryInvalidBatchSize(count));
        require(count <= type(uint32).max - firstSerial, CertificateRegistrySerialsExhausted(ca));

        bytes32[] memory leaves = _leaves(ca, firstSerial, entries, _latestEnd(current));
        bytes32 root = MerkleTree.root(leaves);
        current.nextSerial = firstSerial + uint32(count);
        _commitments[ca][firstSerial] = MerkleTree.commit(root, uint32(count));
        emit BatchIssued(ca, firstSerial, uint32(count), root);
    }

    // -- the operator, revokers and the governor -------------------------------------------------------------------

    /// @inheritdoc ICertificateRegistry
    function revoke(bytes32 ca, uint32[] calldata serials) external {
        Issuer storage current = _known(ca);
        require(_mayRevoke(ca, current, msg.sender), CertificateRegistryUnauthorized(msg.sender));
        uint32 nextSerial = current.nextSerial;

        uint32 added = 0;
        for (uint256 i = 0; i < serials.length; ++i) {
            uint32 serial = serials[i];
            require(serial > 0 && serial < nextSerial, CertificateRegistryNotIssued(ca, serial, nextSerial));
            uint256 word = _revocations[ca][serial >> 8];
            uint256 bit = 1 << (serial & 0xff);
            if (word & bit != 0) continue;
            _revocations[ca][serial >> 8] = word | bit;
            ++added;
            emit CertificateRevoked(ca, serial, msg.sender);
        }
        require(added > 0, CertificateRegistryNothingRevoked(ca));
        current.revokedCount += added;
    }

    /// @inheritdoc ICertificateRegistry
    function revokeBelow(bytes32 ca, uint32 serial) external {
        Issuer storage current = _known(ca);
        require(_mayRevoke(ca, current, msg.sender), CertificateRegistryUnauthorized(msg.sender));
        require(serial > revokedBelow[ca], CertificateRegistryWatermarkNotRaised(ca, revokedBelow[ca], serial));
        require(serial <= current.nextSerial, CertificateRegistryNotIssued(ca, serial, current.nextSerial));

        revokedBelow[ca] = serial;
        emit RevokedBelow(ca, serial, msg.sender);
    }

    // -- the governor and the guardian -----------------------------------------------------------------------------

    /// @inheritdoc ICertificateRegistry
    function suspend(bytes32 ca) external {
        Issuer storage current = _known(ca);
        require(
            _isGovernor(msg.sender) || msg.sender == domain.guardian(), CertificateRegistryUnauthorized(msg.sender)
        );
        _change(ca, current, State.Active, State.Suspended, State.Closed, State.ClosedSuspended);
    }

    // -- the governor ----------------------------------------------------------------------------------------------

    /// @inheritdoc ICertificateRegistry
    function lift(bytes32 ca) external {
        Issuer storage current = _known(ca);
        require(_isGovernor(msg.sender), CertificateRegistryUnauthorized(msg.sender));
        _change(ca, current, State.Suspended, State.Active, State.ClosedSuspended, State.Closed);
    }

    /// @inheritdoc ICertificateRegistry
    function close(bytes32 ca) external {
        Issuer storage current = _known(ca);
        require(_isGovernor(msg.sender), CertificateRegistryUnauthorized(msg.sender));
        _change(ca, current, State.Active, State.Closed, State.Suspended, State.ClosedSuspended);
    }

    /// @inheritdoc ICertificateRegistry
    function retire(bytes32 ca) external {
        Issuer storage current = _known(ca);
        require(_isGovernor(msg.sender), CertificateRegistryUnauthorized(msg.sender));
        State from = current.state;
        require(from != State.Retired, CertificateRegistryInvalidTransition(ca, from));

        current.state = State.Retired;
        emit StateChanged(ca, from, State.Retired, msg.sender);
    }

    /// @inheritdoc ICertificateRegistry
    function setOperator(bytes32 ca, address operator) external {
        Issuer storage current = _known(ca);
        require(_isGovernor(msg.sender), CertificateRegistryUnauthorized(msg.sender));
        require(current.state != State.Retired, CertificateRegistryNotActive(ca, current.state));
        require(operator != address(0), CertificateRegistryZeroOperator(ca));

        address previous = current.operator;
        current.operator = operator;
        emit OperatorChanged(ca, previous, operator);
    }

    /// @inheritdoc ICertificateRegistry
    function setRevoker(bytes32 ca, address revoker, bool allowed) external {
        _known(ca);
        require(_isGovernor(msg.sender), CertificateRegistryUnauthorized(msg.sender));

        isRevoker[ca][revoker] = allowed;
        emit RevokerChanged(ca, revoker, allowed);
    }

    /// @inheritdoc ICertificateRegistry
    function setMaximumLifetime(bytes32 ca, uint24 maximumLifetime) external {
        Issuer storage current = _known(ca);
        require(_isGovernor(msg.sender), CertificateRegistryUnauthorized(msg.sender));
        require(current.state != State.Retired, CertificateRegistryNotActive(ca, current.state));
        require(maximumLifetime != 0, CertificateRegistryZeroLifetime(ca));

        current.maximumLifetime = maximumLifetime;
        emit MaximumLifetimeChanged(ca, maximumLifetime);
    }

    // -- views -----------------------------------------------------------------------------------------------------

    /// @inheritdoc ICertificateRegistry
    function issuer(bytes32 ca) external view returns (Issuer memory) {
        return _issuers[ca];
    }

    /// @inheritdoc ICertificateRegistry
    function commitment(bytes32 ca, uint32 firstSerial) external view returns (bytes32) {
        return _commitments[ca][firstSerial];
    }

    /// @inheritdoc ICertificateRegistry
    function revocationWord(bytes32 ca, uint256 index) external view returns (uint256) {
        return _revocations[ca][index];
    }

    /// @inheritdoc ICertificateRegistry
    function isRevoked(bytes32 ca, uint32 serial) public view returns (bool) {
        return serial < revokedBelow[ca] || _revocations[ca][serial >> 8] & (1 << (serial & 0xff)) != 0;
    }

    /// @inheritdoc ICertificateRegistry
    function verify(
        bytes32 ca,
        uint32 firstSerial,
        uint32 count,
        uint32 serial,
        Entry calldata entry,
        bytes32[] calldata path
    ) external view returns (Verdict) {
        if (serial < firstSerial || serial - firstSerial >= count) return Verdict.NotAnchored;
        bytes32 leaf = MerkleTree.leaf(_context(ca), serial, entry.subject, entry.certificateHash);
        bytes32 root = MerkleTree.climb(leaf, serial - firstSerial, count, path);
        if (_commitments[ca][firstSerial] != MerkleTree.commit(root, count)) return Verdict.NotAnchored;
        if (!domain.watchdogs().isConfirmed(ca, firstSerial)) return Verdict.NotAnchored;

        State state = _issuers[ca].state;
        if (state == State.Retired || isRevoked(ca, serial) || _isRetired(_device(entry.subject))) return Verdict.Revoked;
        if (state == State.Suspended || state == State.ClosedSuspended) return Verdict.Suspended;
        if (_notAfter(entry.subject) <= block.timestamp) return Verdict.Expired;
        return Verdict.Valid;
    }

    // -- internal --------------------------------------------------------------------------------------------------

    /// @dev The issuer of `ca`, which has to be registered.
    function _known(bytes32 ca) internal view returns (Issuer storage known) {
        known = _issuers[ca];
        require(known.state != State.Unregistered, CertificateRegistryUnknownAuthority(ca));
    }

    /// @dev The operator first: the common case calls no other contract.
    function _mayRevoke(bytes32 ca, Issuer storage current, address account) internal view returns (bool) {
        return account == current.operator || isRevoker[ca][account] || _isGovernor(account);
    }

    /// @dev Goes from `from1` to `to1`, or from `from2` to `to2`, whichever applies.
    function _change(bytes32 ca, Issuer storage current, State from1, State to1, State from2, State to2) internal {
        State from = current.state;
        require(from == from1 || from == from2, CertificateRegistryInvalidTransition(ca, from));
        State to = from == from1 ? to1 : to2;

        current.state = to;
        emit StateChanged(ca, from, to, msg.sender);
    }

    /// @dev Checks and announces the certificates of a batch, and returns their leaves.
    function _leaves(bytes32 ca, uint32 firstSerial, Entry[] calldata entries, uint256 latestEnd)
        internal
        returns (bytes32[] memory leaves)
    {
        bytes32 context = _context(ca);
        leaves = new bytes32[](entries.length);
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = _announce(ca, context, firstSerial + uint32(i), entries[i], latestEnd);
        }
    }

    /// @dev Checks and announces one certificate, and returns its leaf.
    function _announce(bytes32 ca, bytes32 context, uint32 serial, Entry calldata entry, uint256 latestEnd)
        internal
        returns (bytes32)
    {
        uint256 subject = entry.subject;
        bytes32 certificateHash = entry.certificateHash;
        require(certificateHash != 0, CertificateRegistryZeroCertificateHash(serial));
        require(
            _notAfter(subject) <= latestEnd, CertificateRegistryLifetimeExceeded(serial, _notAfter(subject), latestEnd)
        );
        emit CertificateIssued(ca, _device(subject), serial, certificateHash, _notAfter(subject), entry.locator);
        return MerkleTree.leaf(context, serial, subject, certificateHash);
    }

    /// @dev The latest end that a certificate issued now may have.
    function _latestEnd(Issuer storage current) internal view returns (uint256) {
        return block.timestamp + uint256(current.maximumLifetime) * 1 minutes;
    }

    /// @dev Binds the leaves to this chain, this registry and `ca`.
    function _context(bytes32 ca) internal view returns (bytes32) {
        return keccak256(abi.encode(LEAF_TYPE, block.chainid, address(this), ca));
    }

    function _isRetired(address device) internal view returns (bool) {
        return device != address(0) && domain.devices().device(device).state == IDeviceRegistry.State.Retired;
    }

    function _device(uint256 subject) internal pure returns (address) {
        return address(uint160(subject >> 96));
    }

    function _notAfter(uint256 subject) internal pure returns (uint96) {
        return uint96(subject);
    }
}
